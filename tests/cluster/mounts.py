"""Finds and removes what is mounted below a directory of ours."""

from __future__ import annotations

import subprocess
from pathlib import Path


def mounts_below(directory: Path) -> list[Path]:
    """Mount points below a directory, the deepest and latest first."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        # Blanks in a mount point are written as octal escapes.
        point = Path(line.split()[1].encode().decode("unicode_escape"))
        if point.is_relative_to(directory):
            found.append(point)
    return found[::-1]


def unmount_below(directory: Path) -> None:
    for point in mounts_below(directory):
        subprocess.run(["umount", "--lazy", str(point)], capture_output=True, check=False)
