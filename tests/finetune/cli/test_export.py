"""`finetune export` starts the program that exports, once it is known that there is a run to export."""

import errno
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from finetune.api.errors import BadInputError
from finetune.cli.command import run_command
from finetune.cli.export import ExportRequest, export
from finetune.cli.local.configuration import Folders
from finetune.cli.local.output import OutputBusyError, locked
from tests.finetune.cli.builders import gone_reader

PROGRAM = "import json, os, sys; print(json.dumps([os.getcwd(), sys.argv[1:]])); print('a complaint', file=sys.stderr); sys.exit(5)"
COMMAND = (sys.executable, "-c", PROGRAM)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    return tmp_path / "run"


def test_the_program_is_given_what_was_asked_for_with_absolute_paths(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.parent)
    request = ExportRequest(Path("run"), ("adapter", "merged"), "bfloat16", Path("to"), Path("base"), overwrite=True)

    code = export(request, COMMAND)

    out, err = capfd.readouterr()
    folder, arguments = json.loads(out)
    assert (code, err) == (5, "a complaint\n")
    assert arguments == [
        str(run), "--to", str(run.parent / "to"), "--form", "adapter", "--form", "merged", "--dtype", "bfloat16",
        "--base", str(run.parent / "base"), "--overwrite",
    ]  # fmt: skip
    assert Path(folder) != run.parent, "modules beside the user's files are not the program's"


def test_by_default_the_run_s_own_model_folder_is_written_and_nothing_more_is_said(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export(ExportRequest(run, ("merged",)), COMMAND)

    assert json.loads(capfd.readouterr().out)[1] == [str(run), "--to", str(run / "model"), "--form", "merged"]


def test_the_run_s_own_model_folder_by_another_name_is_given_to_the_program_by_its_own(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (run / "model").mkdir()
    (tmp_path / "link").symlink_to(run / "model")
    (tmp_path / "runs").symlink_to(tmp_path)
    for own in (tmp_path / "link", tmp_path / "runs" / "run" / "model", run / "../run/model"):
        export(ExportRequest(run, ("merged",), to=own), COMMAND)
        assert json.loads(capfd.readouterr().out)[1] == [str(run), "--to", str(run / "model"), "--form", "merged"]


def test_a_run_that_is_being_written_is_left_alone_but_may_be_exported_elsewhere(run: Path, tmp_path: Path) -> None:
    (run / "model").mkdir()
    (tmp_path / "link").symlink_to(run / "model")
    with locked(Folders(run)):
        for own in (None, run / "model", tmp_path / "run/../run/model", tmp_path / "link"):
            with pytest.raises(OutputBusyError, match=rf"^DIR: .* by the `finetune` command with pid {os.getpid()};"):
                export(ExportRequest(run, ("merged",), to=own), COMMAND)
        assert export(ExportRequest(run, ("merged",), to=tmp_path / "to"), COMMAND) == 5


@pytest.mark.parametrize(
    ("folder", "forms", "words"),
    [
        ("run", (), "finetune export: has nothing to write; give --merged, --adapter or both"),
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


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ("file", "--to: .*/file is not a folder; give a folder"),
        ("file/below/it", "--to: .*/file is not a folder"),
        ("circle", "--to: .*/circle is not a folder"),
    ],
    ids=["a file", "below a file", "a link to itself"],
)
def test_a_place_that_is_no_folder_is_refused_before_anything_starts(run: Path, tmp_path: Path, inside: str, words: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")

    with pytest.raises(BadInputError, match=words):
        export(ExportRequest(run, ("merged",), to=tmp_path / inside), COMMAND)


@pytest.mark.parametrize(("to", "field"), [(None, "DIR"), (Path("/proc/self/to"), "--to")], ids=["the run's own", "another"])
def test_a_place_that_cannot_be_written_is_refused_before_anything_starts(
    run: Path, monkeypatch: pytest.MonkeyPatch, to: Path | None, field: str
) -> None:
    def refuse(**_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)

    with pytest.raises(BadInputError, match=rf"^{field}: .* cannot be written \(Permission denied\); write elsewhere with --to FOLDER"):
        export(ExportRequest(run, ("merged",), to=to), COMMAND)

    assert not (run / ".finetune").exists()


def test_a_full_disk_is_refused_before_anything_starts(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    to = tmp_path / "to"
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: usage._replace(free=10**6) if Path(path) == tmp_path else usage._replace(free=10**12)
    )

    with pytest.raises(BadInputError, match=r"^--to: .*/to is on a disk with 1 MB free; make room"):
        export(ExportRequest(run, ("merged",), to=to), COMMAND)


STOPPED = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))
{before}
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("code", "before", "expected", "words"),
    [
        pytest.param(3, "", 3, "interrupted; nothing was written\n", id="at its beginning"),
        pytest.param(3, "os.makedirs(sys.argv[3] + '/merged')", 3, "interrupted; what was written so far is complete\n", id="between two"),
        pytest.param(3, "print('wrote nothing yet', flush=True)", 3, "interrupted; nothing was written\n", id="after some words"),
        pytest.param(0, "os.makedirs(sys.argv[3] + '/merged')", 0, "", id="when all was done"),
    ],
)
def test_a_stop_says_whether_anything_was_written(
    run: Path, capfd: pytest.CaptureFixture[str], code: int, before: str, expected: int, words: str
) -> None:
    # The program is a child of a supervisor, so the signal goes to the test's own process by its number.
    program = STOPPED.format(code=code, before=before).replace("os.getppid()", str(os.getpid()))

    found = export(ExportRequest(run, ("merged",)), (sys.executable, "-c", program))

    assert (found, capfd.readouterr().err) == (expected, words)


def test_a_reader_that_is_gone_does_not_end_the_export(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import os, sys; print('wrote one', flush=True); print('wrote two', flush=True); os.mkdir(sys.argv[3])"
    with gone_reader() as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert export(ExportRequest(run, ("merged",), to=tmp_path / "to"), (sys.executable, "-c", program)) == 0
    assert (tmp_path / "to").is_dir()


def test_the_command_line_reaches_it_and_exits_with_2_for_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["export", str(tmp_path), "--merged"]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_its_help_says_what_is_written_where(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command(["export", "--help"])

    shown = " ".join(capsys.readouterr().out.split())
    assert "Write the model of a run from its best checkpoint" in shown
    assert "write FOLDER/merged and FOLDER/adapter (default: FOLDER is DIR/model)" in shown
