import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from bench import processes
from bench.processes import SAMPLE_SECONDS, Finished, RunFailedError, marked, run, run_watched

MIB = 1 << 20
# Children leave the session, as some of Ray's processes do. They say when they have done what is measured, and stay until they are
# told that they were seen since.
START = """
import pathlib, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
def wait_to_be_seen():
    (folder / "done").touch()
    while not (folder / "seen").exists(): time.sleep(0.01)
def detach():
    subprocess.run([sys.executable, __file__, str(folder), "child"], start_new_session=True, check=True)
"""
LARGE = f"""{START}
block = bytearray(64 << 20)
wait_to_be_seen() if sys.argv[2:] else detach()
"""
BUSY = f"""{START}
import os
if sys.argv[2:]:
    while sum(os.times()[:2]) < 1.2: pass
    wait_to_be_seen()
else:
    detach()
"""


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Finished]:
    """Return a function that measures a program until its child was counted after it was done."""
    looks = 0

    def look(mark: str) -> Iterator[psutil.Process]:
        nonlocal looks
        looks += (tmp_path / "done").exists()
        if looks == 2:  # the first look that found it done has ended
            (tmp_path / "seen").touch()
        return marked(mark)

    def measure(program: str) -> Finished:
        monkeypatch.setattr(processes, "marked", look)
        (tmp_path / "program.py").write_text(program)
        return run([sys.executable, str(tmp_path / "program.py"), str(tmp_path)], tmp_path / "log")

    return measure


def test_the_peak_counts_processes_that_left_the_session_too(measured: Callable[[str], Finished]) -> None:
    finished = measured(LARGE)
    assert 128 * MIB < finished.peak_bytes < 400 * MIB
    assert finished.seconds > SAMPLE_SECONDS


def test_processor_time_counts_processes_that_left_the_session_too(measured: Callable[[str], Finished]) -> None:
    assert 1.2 <= measured(BUSY).cpu_seconds < 3


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
