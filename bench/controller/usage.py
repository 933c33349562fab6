"""What a process has used so far, from /proc. Test: tests/bench/controller/test_usage.py."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Processor time since a process began, and its memory: the most that was resident, and what is."""

    cpu_seconds: float
    peak_bytes: int
    resident_bytes: int


def usage(pid: int) -> Usage:
    """Return what the process has used; FileNotFoundError if it is gone."""
    folder = Path(f"/proc/{pid}")
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    status = (folder / "status").read_text()
    peak, resident = (1024 * int(re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)[1]) for name in ("VmHWM", "VmRSS"))  # type: ignore[index]
    return Usage((int(fields[11]) + int(fields[12])) / TICKS, peak, resident)
