"""`finetune run` with one worker, which trains inside the trainer: what a user sees of it, and of its end by force."""

import json
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from finetune.api.record import EXIT_FAILURE
from tests.finetune.cli.wholerun import command, environment, finetune, job_file, wait_until
from tests.trainer.fixtures.learning import learner_with_rows

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("training")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learner_with_rows(tmp_path_factory.mktemp("laptop"), train=64, test=6)


def checkpoints_reported(out: Path) -> list[object]:
    progress = out / ".finetune" / "progress.json"
    return list(json.loads(progress.read_text()).get("checkpoints", [])) if progress.is_file() else []


def test_a_trainer_killed_by_the_system_is_told_from_one_that_failed_and_the_run_goes_on(folder: Path) -> None:
    path, out = job_file(folder), folder / "out"
    with subprocess.Popen(command("run", path, "--output", out), env=environment(), stdout=subprocess.PIPE, text=True) as process:
        wait_until("at a checkpoint", lambda: checkpoints_reported(out), process, out / "trainer.log")
        [supervisor] = psutil.Process(process.pid).children()
        [trainer] = supervisor.children()
        assert trainer.children(recursive=True) == [], "no Ray was started"
        trainer.send_signal(signal.SIGKILL)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == EXIT_FAILURE
    assert "failed (Killed): the trainer was killed (signal 9); unless someone killed it, the machine ran out of memory" in said
    assert said.splitlines()[-1].startswith("the checkpoint at step ")
    assert json.loads((out / "status.json").read_text())["attempts"][-1]["reason"] == "Killed"

    again = finetune("run", path, "--output", out, "--timings")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "resumed from step " in again.stdout
    assert "Ray" not in again.stdout
    lines = again.stdout.splitlines()
    end = next(index for index, line in enumerate(lines) if line.startswith("finished; "))
    assert lines[end - 1].startswith("  whole ")
    assert all(line.split(":")[1].lstrip().startswith("finetune ") for line in lines[end + 1 :])
    assert any(line.startswith("  training ") for line in again.stdout.splitlines())
