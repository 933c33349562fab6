"""`finetune export` starts the program that exports, once it is known that there is a run to export."""

import json
import sys
from pathlib import Path

import pytest

from controller.cli.command import run_command
from controller.cli.export import ExportRequest, export
from controller.cli.localrun import Folders
from controller.cli.output import OutputBusyError, locked
from controller.cli.problems import BadInputError

PROGRAM = "import json, os, sys; print(json.dumps([os.getcwd(), sys.argv[1:]])); print('told', file=sys.stderr); sys.exit(5)"
COMMAND = (sys.executable, "-c", PROGRAM)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    return tmp_path / "run"


def test_the_program_is_told_what_was_asked_for_with_absolute_paths(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.parent)
    request = ExportRequest(Path("run"), ("adapter", "merged"), "bfloat16", Path("to"), Path("base"), overwrite=True)

    code = export(request, COMMAND)

    out, err = capfd.readouterr()
    folder, arguments = json.loads(out)
    assert (code, err) == (5, "told\n")
    assert arguments == [
        str(run), "--to", str(run.parent / "to"), "--form", "adapter", "--form", "merged", "--dtype", "bfloat16",
        "--base", str(run.parent / "base"), "--overwrite",
    ]  # fmt: skip
    assert Path(folder) != run.parent, "modules beside the user's files are not the program's"


def test_by_default_the_run_s_own_model_folder_is_written_and_nothing_more_is_said(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export(ExportRequest(run, ("merged",)), COMMAND)

    assert json.loads(capfd.readouterr().out)[1] == [str(run), "--to", str(run / "model"), "--form", "merged"]


def test_a_run_that_is_being_written_is_left_alone_but_may_be_exported_elsewhere(run: Path, tmp_path: Path) -> None:
    with locked(Folders(run)):
        with pytest.raises(OutputBusyError):
            export(ExportRequest(run, ("merged",)), COMMAND)
        assert export(ExportRequest(run, ("merged",), to=tmp_path / "to"), COMMAND) == 5


@pytest.mark.parametrize(
    ("folder", "forms", "words"),
    [
        ("run", (), "finetune export: is not told what to write; give --merged, --adapter or both"),
        ("empty", ("merged",), "DIR: .*empty holds no run: it has no run.json"),
        ("nowhere", ("merged",), "DIR: there is no folder .*nowhere"),
    ],
    ids=["no form", "no run", "no folder"],
)
def test_what_cannot_be_exported_is_refused_before_anything_starts(
    run: Path, tmp_path: Path, folder: str, forms: tuple[str, ...], words: str
) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(BadInputError, match=words):
        export(ExportRequest(tmp_path / folder, forms), COMMAND)

    assert not (tmp_path / "nowhere").exists()
    assert not list((tmp_path / "empty").iterdir())


def test_the_command_line_reaches_it_and_exits_with_2_for_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["export", str(tmp_path), "--merged"]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_its_help_says_what_is_written_where(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command(["export", "--help"])

    told = " ".join(capsys.readouterr().out.split())
    assert "Write the model of a run from its best checkpoint" in told
    assert "write FOLDER/merged and FOLDER/adapter (default: FOLDER is DIR/model)" in told
