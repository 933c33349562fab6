"""What a figure was measured on: machine, load, versions. Test: tests/bench/test_surroundings.py."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("torch", "transformers", "peft", "accelerate", "trl", "ray", "deepspeed")


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def versions() -> dict[str, str]:
    """Return the versions of what computes; a package that is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit(root: Path) -> str | None:
    """Return the commit of the checkout, with a + when files differ from it; None where there is no git."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+"], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def machine(root: Path) -> dict[str, Any]:
    """Return where and when figures are measured."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memoryGiB": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "niceness": os.nice(0),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(root),
        "versions": versions(),
    }
