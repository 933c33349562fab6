import sys
from pathlib import Path

import pytest

from bench.processes import RunFailedError, marked, run, run_watched

MIB = 1 << 20
# The child leaves the session, as some of Ray's processes do.
DETACHED = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; block = bytearray(64 << 20); time.sleep(2)"], start_new_session=True)
block = bytearray(64 << 20)
child.wait()
"""


def test_the_peak_counts_processes_that_left_the_session_too(tmp_path: Path) -> None:
    finished = run([sys.executable, "-c", DETACHED], tmp_path / "log")
    assert 128 * MIB < finished.peak_bytes < 400 * MIB
    assert finished.seconds > 2


BUSY = """
import os, subprocess, sys, time
code = "import os, time\\nwhile sum(os.times()[:2]) < 1.2: pass\\ntime.sleep(1)"
subprocess.Popen([sys.executable, "-c", code], start_new_session=True).wait()
"""


def test_processor_time_counts_processes_that_left_the_session_too(tmp_path: Path) -> None:
    finished = run([sys.executable, "-c", BUSY], tmp_path / "log")
    assert 1.2 <= finished.cpu_seconds < 3


def test_a_program_that_fails_is_reported_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match=r"ended with 3; its output is in .*log"):
        run([sys.executable, "-c", "print('why'); raise SystemExit(3)"], tmp_path / "log")
    assert (tmp_path / "log").read_text() == "why\n"


def test_a_program_that_can_be_watched_no_longer_is_ended(tmp_path: Path) -> None:
    marks: list[str] = []

    def look(mark: str) -> None:
        marks.append(mark)
        if any(marked(mark)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_watched([sys.executable, "-c", "import threading; threading.Event().wait()"], tmp_path / "log", look)
    assert list(marked(marks[0])) == []
