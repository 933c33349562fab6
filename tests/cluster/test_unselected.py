"""Nobody has to guess why tests did not run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import REPOSITORY

TESTS = """\
import pytest

@pytest.mark.e2e
@pytest.mark.parametrize("number", [1, 2])
def test_node(number): pass

@pytest.mark.slow
def test_long(): pass

def test_short(): pass
"""


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        pytest.param(
            ["-m", "not slow and not e2e"],
            [
                "not run: 2 marked e2e; they need a real node, which takes root and Debian: make e2e",
                "not run: 1 marked slow; they need minutes: make test-slow",
            ],
            id="left out by their markers",
        ),
        pytest.param(
            ["-m", "not slow and not e2e", "-n", "2"],
            [
                "not run: 2 marked e2e; they need a real node, which takes root and Debian: make e2e",
                "not run: 1 marked slow; they need minutes: make test-slow",
            ],
            id="left out by their markers in several workers",
        ),
        pytest.param(["-k", "short"], [], id="left out by name"),
        pytest.param([], [], id="none left out"),
    ],
)
def test_what_the_markers_leave_out_is_reported_with_what_it_needs(tmp_path: Path, arguments: list[str], lines: list[str]) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    e2e: x\n    slow: x\n    gpu: x\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.cluster.unselected", *arguments],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("not run")] == lines
    assert "passed" in done.stdout.splitlines()[-1], "pytest's own summary stays the last line"
