"""The commands that the README tells: each target is there, says what it does, and runs what is told of it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = ("setup", "run", "test", "test-slow", "lint", "cluster", "cluster-down", "e2e", "bench", "clean", "help")


# The tests themselves may have been started by make, which tells the makes below it so.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}


def make(*arguments: str, directory: Path = ROOT) -> str:
    return subprocess.run(["make", *arguments], cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("target", TARGETS)
def test_help_lists_the_target_with_what_it_does(target: str) -> None:
    assert re.search(rf"^{target} +\S", make("help"), re.MULTILINE)


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("run", "finetune run manifests/samples/quickstart.yaml --output runs/quickstart --overwrite"),
        ("test", 'pytest -rs -m "not slow and not e2e and not gpu"'),
        ("test", "tests.cluster build --tier control-plane"),
        ("e2e", "pytest -rs -m e2e tests/e2e"),
        ("lint", "controller.api.crd --check"),
        ("cluster", "tests.cluster up"),
        ("cluster-down", "tests.cluster down"),
    ],
)
def test_target_runs_the_command(target: str, command: str) -> None:
    assert command in make("--dry-run", "--always-make", target)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks set up, with programs in place of the real ones that only tell that they ran."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    for program, says in {"scripts/setup.sh": "set up", ".venv/bin/finetune": "ran"}.items():
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho {says}\n")
        path.chmod(0o755)
    return tmp_path


def test_a_second_run_starts_without_setting_up_again(checkout: Path) -> None:
    assert "set up" in make("--silent", "run", directory=checkout)
    assert make("--silent", "run", directory=checkout).split() == ["ran"]


def test_a_changed_pin_is_installed_before_the_next_run(checkout: Path) -> None:
    make("--silent", "run", directory=checkout)
    installed = (checkout / ".venv/.installed").stat().st_mtime
    os.utime(checkout / "constraints.txt", (installed + 1, installed + 1))
    assert make("--silent", "run", directory=checkout).split() == ["set", "up", "ran"]


def test_setup_without_a_new_enough_python_says_what_to_do(checkout: Path) -> None:
    (checkout / "scripts/setup.sh").write_text((ROOT / "scripts/setup.sh").read_text())
    environment = {**ENVIRONMENT, "PYTHON": "/bin/false"}
    done = subprocess.run(["make", "setup"], cwd=checkout, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode != 0
    assert "no Python of 3.11 or newer" in done.stderr
    assert "make setup PYTHON=" in done.stderr


def test_setup_on_a_debian_without_venv_and_uv_says_what_to_install(checkout: Path, tmp_path: Path) -> None:
    (checkout / "scripts/setup.sh").write_text((ROOT / "scripts/setup.sh").read_text())
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "rm"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    python = tools / "python3"
    python.write_text('#!/bin/sh\ncase "$*" in *venv*) exit 1;; *print*) echo "$0";; esac\n')
    python.chmod(0o755)
    environment = {"PATH": str(tools), "PYTHON": str(python)}
    done = subprocess.run([checkout / "scripts/setup.sh"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode != 0
    assert "apt-get install python3-venv" in done.stderr
    assert not (checkout / ".venv").exists(), "half an environment would be taken for one"


def test_continuous_integration_runs_the_commands_that_a_developer_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-2:] == ["make lint", "make test"]
