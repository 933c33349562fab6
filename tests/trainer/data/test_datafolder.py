"""A start leaves nothing on disk unless its input has passed; tokens outlive it, rows do not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.system.interpreter import ROOT
from finetune.system.scratch import DATA, FOLDER_VARIABLE
from trainer.data.datafolder import DataFolder, data_of_a_check, data_of_a_run


def publish(data: DataFolder, name: str) -> None:
    with data.stage(name) as staged:
        (staged.folder / "file").write_text(name)
        staged.publish()


def names(output: Path) -> list[str]:
    return sorted(path.name for path in (output / DATA).iterdir())


def test_a_refused_start_leaves_the_disk_as_it_was(tmp_path: Path) -> None:
    output = tmp_path / "new" / "out"
    with data_of_a_run(output) as data:
        data.rows.mkdir()
        publish(data, "tokens")
    assert not (tmp_path / "new").exists()


def test_a_refused_start_leaves_the_tokens_of_earlier_ones(tmp_path: Path) -> None:
    with data_of_a_run(tmp_path) as data:
        data.keep()
        publish(data, "tokens")
    with data_of_a_run(tmp_path) as data:
        assert data.find("tokens") == tmp_path / DATA / "tokens"
        publish(data, "others")
    assert names(tmp_path) == ["tokens"]


def test_what_was_published_before_the_input_passed_stays_under_its_name(tmp_path: Path) -> None:
    with data_of_a_run(tmp_path) as data:
        data.rows.mkdir()
        publish(data, "tokens")
        data.keep()
        assert data.find("tokens") == tmp_path / DATA / "tokens"
        assert data.rows.is_dir(), "rows are read until the run ends"
    assert names(tmp_path) == ["tokens"]


def test_what_a_killed_start_left_goes_once_another_has_passed(tmp_path: Path) -> None:
    (tmp_path / DATA / "start-killed" / "rows").mkdir(parents=True)
    (tmp_path / DATA / ".tokens.finetune-staged").mkdir()
    with data_of_a_run(tmp_path):
        pass
    assert "start-killed" in names(tmp_path)
    with data_of_a_run(tmp_path) as data:
        data.keep()
    assert names(tmp_path) == []


def test_tokens_of_other_rows_are_removed_on_request(tmp_path: Path) -> None:
    with data_of_a_run(tmp_path) as data:
        data.keep()
        for name in ("a", "b"):
            publish(data, name)
        data.forget_all_but({"b"})
        assert (data.find("a"), data.rows.parent.is_dir()) == (None, True)
    assert names(tmp_path) == ["b"]


def test_a_check_finds_the_tokens_of_a_run_and_writes_elsewhere(tmp_path: Path) -> None:
    with data_of_a_run(tmp_path) as data:
        data.keep()
        publish(data, "tokens")
    with data_of_a_check(tmp_path) as data:
        assert data.find("tokens") is not None
        publish(data, "others")
        assert (folder := data.find("others")) is not None
    assert not folder.exists()
    assert names(tmp_path) == ["tokens"]


def test_the_rows_of_a_check_are_in_the_folder_that_the_command_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run_folder := tmp_path / "ft-run").mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(run_folder))
    with data_of_a_check(tmp_path / "out") as data:
        assert run_folder in data.rows.parents


ABANDONED = """
import sys
from pathlib import Path
from trainer.__main__ import abandon
from trainer.data.datafolder import data_of_a_check, data_of_a_run
with {"check": data_of_a_check, "run": data_of_a_run}[sys.argv[1]](Path("out")) as data:
    data.rows.mkdir()
    (data.rows / "row").write_text("of the user")
    assert len([path for path in Path().rglob("row")]) == 1
    abandon(3)
"""


@pytest.mark.parametrize("what", ["check", "run"])
def test_a_start_that_leaves_at_once_leaves_no_rows(tmp_path: Path, what: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != FOLDER_VARIABLE}
    environment |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", ABANDONED, what]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 3, ended.stderr
    assert list(tmp_path.rglob("row")) == []
    assert list(tmp_path.glob("finetune-data-*")) == list(tmp_path.rglob("start-*")) == []
