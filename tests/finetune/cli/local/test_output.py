"""A folder has one writer, and a previous run is never damaged by accident."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from finetune.api.errors import BadInputError
from finetune.api.trainconfig import TrainConfig
from finetune.cli.jobfile.reading import read_job_file
from finetune.cli.local.configuration import Folders, plan_local_run
from finetune.cli.local.machine import Machine
from finetune.cli.local.output import (
    OutputBusyError,
    locked,
    previous_run_finished,
    refuse_foreign_files,
    remove_run,
)
from tests.finetune.cli.builders import CONFIG_MAP, job, write

HOLD = """
import os, pathlib, sys, time
from finetune.cli.local.configuration import Folders
from finetune.cli.local.output import locked
with locked(Folders(pathlib.Path(sys.argv[1]))) as lock:
    if os.fork() == 0:
        time.sleep(float(sys.argv[2]))
        os._exit(0)
    pathlib.Path(sys.argv[1], "ready").touch()
    time.sleep(30)
"""
"""Holds the lock; a child that inherited it holds it a while longer, as the supervisor does."""


def config(folder: Path, **changes: Any) -> TrainConfig:
    found = read_job_file(write(folder, CONFIG_MAP, job(**changes)))
    return plan_local_run(found, Folders(folder), {}, Machine(2, 0)).config


def previous(folder: Path, of: TrainConfig, finished: bool = True, **owner: Any) -> None:
    content = {"owner": {"uid": None, "name": of.job.name, **owner}, "lineage": of.lineage(), "digests": {}, "finished": finished}
    (folder / "run.json").write_text(json.dumps(content))


def test_a_second_writer_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", HOLD, str(tmp_path), "0"]) as first:
        while not (tmp_path / "ready").exists():
            time.sleep(0.02)
        with (
            pytest.raises(OutputBusyError, match=rf"is being written by the `finetune` command with pid {first.pid};"),
            locked(Folders(tmp_path)),
        ):
            pass
        first.kill()


def test_a_run_whose_command_was_killed_is_waited_for(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", HOLD, str(tmp_path), "1.5"]) as first:
        while not (tmp_path / "ready").exists():
            time.sleep(0.02)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        with locked(Folders(tmp_path)):
            assert (tmp_path / ".finetune/lock").read_text() == str(os.getpid())


def test_the_folder_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(Folders(tmp_path / "new")):
            assert (tmp_path / "new/.finetune/lock").read_text() == str(os.getpid())


def test_an_empty_folder_holds_no_run(tmp_path: Path) -> None:
    assert not previous_run_finished(Folders(tmp_path), config(tmp_path))


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_of_the_same_configuration_is_known_again(tmp_path: Path, finished: bool) -> None:
    previous(tmp_path, config(tmp_path), finished)
    assert previous_run_finished(Folders(tmp_path), config(tmp_path)) is finished


def test_a_run_that_a_version_without_a_field_recorded_is_known_again(tmp_path: Path) -> None:
    previous(tmp_path, config(tmp_path))
    record = json.loads((tmp_path / "run.json").read_text())
    del record["lineage"]["training"]["groupByLength"]
    (tmp_path / "run.json").write_text(json.dumps(record))

    assert previous_run_finished(Folders(tmp_path), config(tmp_path))


def test_a_folder_that_was_moved_holds_the_same_run(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
    previous(after, config(before))
    assert previous_run_finished(Folders(after), config(after))


def test_more_workers_do_not_make_another_run(tmp_path: Path) -> None:
    previous(tmp_path, config(tmp_path))
    assert previous_run_finished(Folders(tmp_path), config(tmp_path, spec__distributed={"workers": 2}))


@pytest.mark.parametrize("finished", [True, False])
def test_another_configuration_is_refused_by_the_field_that_differs(tmp_path: Path, finished: bool) -> None:
    previous(tmp_path, config(tmp_path), finished)
    with pytest.raises(BadInputError, match=r"^spec\.training\.epochs: is not what it was in the run that .* holds; give another --output"):
        previous_run_finished(Folders(tmp_path), config(tmp_path, spec__training__epochs=2))


@pytest.mark.parametrize("owner", [{"name": "other"}, {"uid": "1234"}], ids=["another-name", "a-cluster's"])
def test_another_jobs_run_is_refused(tmp_path: Path, owner: dict[str, str]) -> None:
    previous(tmp_path, config(tmp_path), **owner)
    with pytest.raises(BadInputError, match=r"^metadata\.name: 'support-bot' is another job: "):
        previous_run_finished(Folders(tmp_path), config(tmp_path))


def test_a_damaged_record_of_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(BadInputError, match=r"run\.json is damaged; "):
        previous_run_finished(Folders(tmp_path), config(tmp_path))


def test_only_files_of_a_run_are_removed(tmp_path: Path) -> None:
    of_a_run = ("checkpoints/step-1/state", "model/adapter/x", "logs/attempt-1/rank-0.log", "run.json")
    in_passing = (".run.json.finetune-staged", ".finetune/config.json")
    for name in (*of_a_run, *in_passing, "notes.txt", "models/mine", "logs/nightly.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    remove_run(Folders(tmp_path))
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["logs/nightly.log", "models/mine", "notes.txt"]


def test_no_empty_folder_of_logs_is_left(tmp_path: Path) -> None:
    (tmp_path / "logs/attempt-1").mkdir(parents=True)
    remove_run(Folders(tmp_path))
    assert not (tmp_path / "logs").exists()


def test_a_link_is_removed_and_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/model").symlink_to(tmp_path / "elsewhere")
    remove_run(Folders(tmp_path / "out"))
    assert (tmp_path / "elsewhere/file").exists()
    assert not (tmp_path / "out/model").exists()


def test_files_that_no_run_wrote_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(BadInputError, match="has model, which no run of finetune wrote; give another folder"):
        refuse_foreign_files(Folders(tmp_path))
    (tmp_path / "run.json").touch()
    refuse_foreign_files(Folders(tmp_path))


@pytest.mark.parametrize(
    "content", ["[]", '{"owner": []}', '{"owner": {"name": "job"}, "lineage": "x"}'], ids=["no object", "owner", "lineage"]
)
def test_a_record_that_is_damaged_inside_is_refused(tmp_path: Path, content: str) -> None:
    wanted = config(tmp_path)
    (tmp_path / "run.json").write_text(content)

    with pytest.raises(BadInputError, match=r"^--output: .*run\.json is damaged; give another folder, or start over with --overwrite"):
        previous_run_finished(Folders(tmp_path), wanted)
