"""Directories that containerd, kubelet, CNI and buildah make at fixed places, whatever they are told; gone again after `down`."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

FIXED_PLACES = (
    "/etc/cni",
    "/run/containerd",
    "/var/lib/containers",
    "/usr/libexec/kubernetes",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
)
LOG_LINKS = Path("/var/log/containers")


def record_absent(directory: Path) -> None:
    """Note which of the places do not exist before the cluster starts: only those are the cluster's to remove."""
    absent = [place for place in FIXED_PLACES if not Path(place).exists()]
    _record(directory).write_text(json.dumps(absent))


def remove_made(directory: Path) -> None:
    """Remove what was absent before, and links into the cluster's directory from what was not."""
    if LOG_LINKS.is_dir():
        for link in LOG_LINKS.iterdir():
            if link.is_symlink() and link.readlink().is_relative_to(directory):
                link.unlink()
    if _record(directory).exists():
        for place in json.loads(_record(directory).read_text()):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(place)


def _record(directory: Path) -> Path:
    return directory / "absent.json"
