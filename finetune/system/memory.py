"""How much memory this process may still take, by the machine and by the limit of the container. Linux only.

Test: tests/finetune/system/test_memory.py.
"""

import resource
import sys
from contextlib import suppress
from pathlib import Path

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


def available_bytes(proc: Path = PROC, cgroup: Path = CGROUP) -> int | None:
    """Return what the machine has left, or the container if that is less (control groups, version 2); None where it is not known."""
    try:
        machine = _field(proc / "meminfo", "MemAvailable:") * 1024
    except (OSError, ValueError):
        return None
    try:
        limit, used = int((cgroup / "memory.max").read_text(encoding="utf-8")), int((cgroup / "memory.current").read_text(encoding="utf-8"))
        # The kernel gives this part of the files it keeps in memory back before it kills.
        return min(machine, max(0, limit - used + _field(cgroup / "memory.stat", "inactive_file")))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return machine


def freed_since_peak_bytes(proc: Path = PROC) -> int:
    """Return how much less memory this process has now than at its peak since `begin_peak`: the next training step may need it again.

    0 if it is not known.
    """
    status = proc / "self" / "status"
    try:
        return max(0, 1024 * (_field(status, "VmHWM:") - _field(status, "VmRSS:")))
    except (OSError, ValueError):
        return 0


_before: list[int] = []
"""The peaks that `begin_peak` has ended."""


def begin_peak(proc: Path = PROC) -> None:
    """Have the peak counted from now on, so that what was needed before, such as for loading, is not taken for what is needed again.

    `peak_bytes` goes on knowing the earlier one. Where the system does not allow it, the peak stays that of the whole process.
    """
    before = peak_bytes()
    with suppress(OSError):
        (proc / "self" / "clear_refs").write_text("5", encoding="ascii")  # proc_pid_clear_refs(5); exists only on Linux
        _before.append(before)


def peak_bytes(platform: str = sys.platform) -> int:
    """Return the most memory that this process ever had; getrusage(2) counts it in kilobytes, on macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(peak if platform == "darwin" else peak * 1024, *_before, 0)


def _field(file: Path, name: str) -> int:
    """Return the number after a name at the beginning of a line."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.removeprefix(name).split()[0])
    raise ValueError(f"{file} has no {name}")
