"""`make gpu` takes the machine's interpreter as it is, and what it lacks from wheels, without a network."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.repository import REPOSITORY


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the script, and an interpreter that only notes how it was called and what it would import from."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(REPOSITORY / "scripts" / "gpu.sh", tmp_path / "scripts")
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$* PYTHONPATH=$PYTHONPATH" >> "$(dirname "$0")/calls"\n')
    python.chmod(0o755)
    return tmp_path


def run(checkout: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": os.environ["PATH"], "PYTHON": str(checkout / "python"), **environment}
    return subprocess.run([checkout / "scripts" / "gpu.sh", *options], env=given, capture_output=True, text=True, check=False)


def test_options_are_passed_on_and_nothing_is_installed_without_wheels(checkout: Path) -> None:
    assert run(checkout, "--only", "tests").returncode == 0
    assert (checkout / "calls").read_text().splitlines()[1:] == [f"-m bench.gpu --only tests PYTHONPATH={checkout}"]


def test_wheels_go_to_a_folder_of_their_own_that_is_removed(checkout: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "from elsewhere"
    wheels.mkdir()
    (wheels / "a-1-py3-none-any.whl").touch()
    assert run(checkout, WHEELS=str(wheels)).returncode == 0
    _, install, bench = (checkout / "calls").read_text().splitlines()
    assert "pip install" in install
    assert "--no-index --no-deps" in install
    assert install.partition(" PYTHONPATH=")[0].endswith(f"{wheels}/a-1-py3-none-any.whl")
    folder = bench.rpartition(":")[2]
    assert f"--target {folder} " in install
    assert not Path(folder).exists()


def test_an_interpreter_without_torch_is_refused_with_what_to_do(checkout: Path) -> None:
    done = run(checkout, PYTHON="/bin/false")
    assert done.returncode == 1
    assert "has no torch; name the interpreter that has: make gpu PYTHON=" in done.stderr
