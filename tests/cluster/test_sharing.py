"""No worker starts a second control plane, no two trainings run at once, a file's fixtures are made once, and long groups begin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.repository import REPOSITORY

FILES = {
    "conftest.py": """\
import pytest

@pytest.fixture(scope="session")
def control_plane(): pass

@pytest.fixture
def namespace(control_plane): pass
""",
    "test_a.py": "def test_one(control_plane): pass\ndef test_two(): pass\ndef test_three(): pass\n",
    "test_b.py": "def test_one(namespace): pass\n",
    "test_c.py": "import pytest\npytestmark = pytest.mark.xdist_group('training')\ndef test_one(): pass\n",
}


def test_what_uses_the_control_plane_or_trains_stays_together_and_all_else_with_its_file(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "tests.sharing", "-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    # pytest-xdist shows a test with the group that it was sent with.
    passed = [line.partition(" PASSED ")[2].strip() for line in done.stdout.splitlines() if " PASSED " in line]
    assert sorted(passed) == [
        "test_a.py::test_one@control plane",
        "test_a.py::test_three@test_a.py",
        "test_a.py::test_two@test_a.py",
        "test_b.py::test_one@control plane",
        "test_c.py::test_one@training",
    ]
    # Which worker has which depends on which is up first.
    firsts = {next(line for line in done.stdout.splitlines() if line.startswith(f"[{worker}]")) for worker in ("gw0", "gw1")}
    assert {line.rstrip().rpartition("@")[2] for line in firsts} == {"training", "control plane"}
