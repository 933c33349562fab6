"""Runs a program with everything that it starts, and measures how much memory and processor time all of it took.

Ray's processes leave their parent's session and some leave the parent, so they are found by a variable in their
environment. Memory is the sum of proportional set sizes: a page that ten processes share is counted once. Processor time is
the sum of what each process had used when it was last seen: Ray's parents do not wait for their children, so the kernel adds
up nothing, and what a process does in its last half second is missing. Test: tests/bench/test_processes.py.
"""

import contextlib
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "FINETUNE_BENCH_RUN"
SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Finished:
    """A program that has ended well."""

    started: float
    """Seconds since the epoch."""
    seconds: float
    peak_bytes: int
    cpu_seconds: float = 0.0
    """Processor time of all its processes, user and system."""


class RunFailedError(Exception):
    """The program ended with another code than 0; the message says where its output is."""


def run(command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> Finished:
    """Run `command` to its end and measure it; raises RunFailedError."""
    peak = 0
    used = dict[tuple[int, float], float]()

    def look(mark: str) -> None:
        nonlocal peak
        processes = list(marked(mark))
        peak = max(peak, sum(map(proportional_bytes, processes)))
        for process in processes:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                used[process.pid, process.create_time()] = times.user + times.system

    started, seconds = run_watched(command, log, look, environment)
    return Finished(started, seconds, peak, sum(used.values()))


def run_watched(
    command: Sequence[str], log: Path, look: Callable[[str], None], environment: dict[str, str] | None = None
) -> tuple[float, float]:
    """Run `command` to its end, its output going to `log`; return when it started and how many seconds it took.

    Until then `look` is called with the mark of its processes again and again. Whatever it raises ends the program.
    Raises RunFailedError.
    """
    mark = uuid.uuid4().hex
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.time()
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {}), MARK: mark})
        try:
            while process.poll() is None:
                look(mark)
                time.sleep(SAMPLE_SECONDS)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0:
        raise RunFailedError(f"`{' '.join(command)}` ended with {process.returncode}; its output is in {log}")
    return started, time.time() - started


def marked(mark: str) -> Iterator[psutil.Process]:
    """Yield the processes whose environment has the mark."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                yield process


def proportional_bytes(process: psutil.Process) -> int:
    """Return a process's proportional set size; 0 when it has just ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
