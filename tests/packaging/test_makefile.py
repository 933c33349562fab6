"""The commands that the README names: each target is there, says what it does, and runs what the README says."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.repository import REPOSITORY

TARGETS = (
    "setup",
    "run",
    "test",
    "test-slow",
    "lint",
    "cluster",
    "cluster-down",
    "e2e",
    "bench",
    "bench-check",
    "bench-controller",
    "gpu",
    "clean",
    "help",
)


# The tests themselves may have been started by make, and the makes below it then know that.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}


def make(*arguments: str, directory: Path = REPOSITORY) -> str:
    return subprocess.run(["make", *arguments], cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("target", TARGETS)
def test_help_lists_the_target_with_what_it_does(target: str) -> None:
    assert re.search(rf"^{target} +\S", make("help"), re.MULTILINE)


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("run", "finetune run manifests/samples/quickstart.yaml --output runs/quickstart --overwrite"),
        ("test", 'pytest -rs -n auto --dist loadgroup --no-loadscope-reorder -m "not slow and not e2e and not gpu"'),
        ("test", "tests.cluster build --tier control-plane"),
        ("e2e", "pytest -rs -m e2e tests/e2e"),
        ("e2e", "tests.cluster build --tier node"),
        ("lint", "finetune.api.crd --check"),
        ("lint", "finetune.api.reference --check"),
        ("lint", "controller.rights --check"),
        ("lint", "scripts.chart_readme --check"),
        ("bench-controller", "-m bench.controller"),
        ("bench", "-m bench.trainer"),
        ("bench-check", "-m bench.trainer --check"),
        ("gpu", "scripts/gpu.sh"),
        ("cluster", "tests.cluster up"),
        ("cluster-down", "tests.cluster down"),
    ],
)
def test_target_runs_the_command(target: str, command: str) -> None:
    assert command in make("--dry-run", "--always-make", target)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks set up, with programs in place of the real ones that only report that they ran."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((REPOSITORY / name).read_text())
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
    (checkout / "scripts/setup.sh").write_text((REPOSITORY / "scripts/setup.sh").read_text())
    environment = {**ENVIRONMENT, "PYTHON": "/bin/false"}
    done = subprocess.run(["make", "setup"], cwd=checkout, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode != 0
    assert "no Python of 3.11 or newer" in done.stderr
    assert "make setup PYTHON=" in done.stderr


class BareDebian:
    """A machine with a Python that cannot make environments: its programs only note how they were called."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.checkout, self.tools = checkout, folder / "tools"
        (checkout / "scripts/setup.sh").write_text((REPOSITORY / "scripts/setup.sh").read_text())
        self.tools.mkdir()
        for name in ("bash", "dirname", "rm", "touch"):
            found = shutil.which(name)
            assert found is not None
            (self.tools / name).symlink_to(found)
        self.add("id", "echo ${USER_ID:-0}")
        self.add("python3", f'case "$*" in *ensurepip*|*venv*) [ -e {self.tools}/venv ] || exit 1;; *print*) echo "$0";; esac')

    def add(self, name: str, script: str) -> None:
        program = self.tools / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.tools}/calls\n{script}\n')
        program.chmod(0o755)

    def add_apt_get(self, script: str = "") -> None:
        self.add("apt-get", script or f'case "$*" in *python3-venv*) touch {self.tools}/venv;; esac')

    def installed(self) -> list[str]:
        return [call for call in (self.tools / "calls").read_text().splitlines() if call.startswith("apt-get install")]

    def set_up(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.checkout / "scripts/setup.sh"],
            capture_output=True, text=True, check=False, env={"PATH": str(self.tools), **environment},
        )  # fmt: skip


@pytest.fixture
def debian(checkout: Path, tmp_path: Path) -> BareDebian:
    return BareDebian(checkout, tmp_path)


def test_setup_as_root_on_a_debian_installs_what_environments_are_made_with(debian: BareDebian) -> None:
    debian.add_apt_get()
    done = debian.set_up()
    assert debian.installed() == ["apt-get install -y -qq --no-install-recommends python3-venv"]
    assert "python3 -m venv .venv" in (debian.tools / "calls").read_text()
    assert "cannot make virtual environments" not in done.stderr


@pytest.mark.parametrize(
    ("apt_get", "environment"),
    [
        pytest.param(None, {}, id="without apt-get"),
        pytest.param("", {"USER_ID": "1000"}, id="without root"),
        pytest.param("exit 100", {}, id="without a network"),
        pytest.param("", {"PYTHON": "python3"}, id="with an interpreter that the user chose"),
    ],
)
def test_setup_without_venv_and_uv_says_what_to_install(debian: BareDebian, apt_get: str | None, environment: dict[str, str]) -> None:
    if apt_get is not None:
        debian.add_apt_get(apt_get)
    done = debian.set_up(**environment)
    assert done.returncode != 0
    assert "apt-get install python3-venv" in done.stderr
    assert debian.installed() == []
    assert not (debian.checkout / ".venv").exists(), "half an environment would be taken for one"


def test_the_end_to_end_tests_look_for_what_keeps_them_from_starting_before_they_build() -> None:
    commands = make("--dry-run", "--always-make", "e2e")
    assert commands.index("tests.cluster preflight") < commands.index("tests.cluster build")


def test_continuous_integration_runs_the_commands_that_a_developer_runs() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-2:] == ["make lint", "make test"]
