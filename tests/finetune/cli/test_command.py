"""The command line: arguments, exit codes, and imports that are light enough to answer at once."""

import errno
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from finetune.api.errors import BadInputError
from finetune.api.record import EXIT_INTERRUPTED
from finetune.cli.command import COMMANDS, NEEDED_TO_TRAIN, parse_claims, run_command
from tests.finetune.cli.builders import gone_reader, job, write
from tests.repository import REPOSITORY


@pytest.mark.parametrize("command", [["run", "--output", "out"], ["check"]], ids=["run", "check"])
def test_mistakes_in_the_job_end_with_2_and_are_all_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, job(spec__training__learningRate=-1, spec__task="x"))
    assert run_command([*command, str(path)]) == 2
    task, rate = capsys.readouterr().err.splitlines()
    assert task.startswith("spec.task: 'x' is not allowed; use 'chat'")
    assert rate == "spec.training.learningRate: -1 is out of range; give more than 0"
    assert not (tmp_path / "out").exists()


def test_a_wrong_command_line_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        run_command(["run", "job.yaml"])
    assert raised.value.code == 2
    assert "--output" in capsys.readouterr().err


def test_an_output_on_a_file_system_that_takes_no_files_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", str(write(tmp_path)), "--output", "/proc/out"]) == 1
    assert capsys.readouterr().err.startswith("/proc/out: ")


def test_claims_become_absolute_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a=b").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_claims(["models=a=b"]) == {"models": tmp_path / "a=b"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(["models"], "--claim: 'models' is not of the form NAME=DIR", id="no-folder"),
        pytest.param(["=/tmp"], "--claim: '=/tmp' is not of the form NAME=DIR", id="no-name"),
        pytest.param(["a=/none"], "--claim: a: there is no folder /none", id="missing"),
        pytest.param(["a=/tmp", "a=/tmp"], "--claim: a is given twice", id="twice"),
    ],
)
def test_a_wrong_claim_is_refused(given: list[str], expected: str) -> None:
    with pytest.raises(BadInputError) as raised:
        parse_claims(given)
    assert str(raised.value).startswith(expected)


def test_the_command_loads_no_heavy_library() -> None:
    program = "import sys, finetune.cli.command; print([m for m in ('torch', 'ray', 'transformers', 'kubernetes') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_is_a_program(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "finetune.cli", "check", str(tmp_path / "none")], capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no such file" in done.stderr


@pytest.mark.parametrize("package", ["rich", "torch"])
def test_packages_that_are_missing_are_named_with_how_to_get_them(tmp_path: Path, package: str) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; from finetune.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "check", str(write(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"the trainer's packages are missing ({package}); install finetune-operator[trainer]\n"


def test_the_version_and_the_exit_codes_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        run_command(["--version"])
    assert raised.value.code == 0
    assert re.fullmatch(r"finetune \d+\.\d+\.\d+\n", capsys.readouterr().out)
    with pytest.raises(SystemExit):
        run_command(["--help"])
    assert "3 interrupted by the user" in capsys.readouterr().out


def test_an_interruption_before_the_trainer_starts_has_its_own_code_and_the_command_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("finetune.cli.local.run.run", interrupted)
    assert run_command(["run", "my job.yaml", "--output", str(tmp_path), "--overwrite"]) == EXIT_INTERRUPTED
    assert capsys.readouterr().err.endswith(f"continue with: finetune run 'my job.yaml' --output {tmp_path} --overwrite\n")


def test_a_name_that_is_not_utf_8_is_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.yaml")
    path.touch()
    assert run_command(["check", str(path)]) == 2
    assert "caf?.yaml': this name is not in UTF-8; rename the file or folder\n" in capsys.readouterr().err


def test_a_command_whose_output_is_closed_ends_with_its_own_code() -> None:
    command = f"{sys.executable} -m finetune.cli explain >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_has_seen_enough_is_no_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with gone_reader() as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert run_command(["explain", "--recursive"]) == 0
    assert capsys.readouterr().err == ""


def test_a_pipe_that_breaks_in_a_command_that_does_more_than_print_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setitem(COMMANDS, "run", broken)
    assert run_command(["run", "job.yaml", "--output", str(tmp_path)]) == 1
    assert "Broken pipe" in capsys.readouterr().err


def test_all_packages_of_the_extra_are_asked_for_before_a_run() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {re.split(r"[^a-z0-9]", requirement)[0] for requirement in extras["trainer"]}
    assert set(NEEDED_TO_TRAIN) == names - {"kubernetes"}, "a run on a laptop needs all but the client of a cluster"
