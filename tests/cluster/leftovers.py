"""What containerd, kubelet, CNI and buildah make at fixed places, whatever they are told; gone again after `down`.

While a cluster is up its machine is used by others too: root may run podman or docker, and they keep images and
running containers below the same places. So nothing goes but names that our programs are known to make, and folders
that are empty then. Test: tests/cluster/test_leftovers.py
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.mounts import mounts_below

# Below each place, as patterns: what a program of ours leaves there although its own folders are elsewhere.
MADE: dict[str, tuple[str, ...]] = {
    "/etc/cni": ("net.d/cni.lock",),  # buildah's
    "/run/containerd": ("runc/k8s.io",),  # sockets of shims: see `_dead_sockets`
    "/var/lib/containers": ("cache/blob-info-cache-v1.*",),  # buildah's; its store is in the cache
    "/usr/libexec/kubernetes": (),
    "/var/lib/cni": ("results/finetune-*", "results/cni-loopback-*"),
    "/var/lib/kubelet": tuple(f"device-plugins/{name}" for name in ("DEPRECATION", "kubelet.sock", "kubelet_internal_checkpoint")),
    "/var/log/containers": (),
}
# Folders that our programs make and may leave empty, the deepest first.
MAYBE_EMPTY: dict[str, tuple[str, ...]] = {
    "/etc/cni": ("net.d",),
    "/run/containerd": ("s", "fifo", "runc"),
    "/var/lib/containers": ("cache", "storage"),
    "/usr/libexec/kubernetes": ("kubelet-plugins/volume/exec", "kubelet-plugins/volume", "kubelet-plugins"),
    "/var/lib/cni": ("results", "networks", "cache"),
    "/var/lib/kubelet": ("device-plugins", "pod-resources", "plugins", "plugins_registry"),
}
SHIM_SOCKETS = "run/containerd/s"
LOG_LINKS = "var/log/containers"
MACHINE = Path("/")


def record_absent(directory: Path, machine: Path = MACHINE) -> None:
    """Note which of the places do not exist before the cluster starts: in no other is anything the cluster's."""
    absent = [place for place in MADE if not (machine / place[1:]).exists()]
    _record(directory).write_text(json.dumps(absent))


def remove_made(directory: Path, machine: Path = MACHINE) -> None:
    """Remove what our programs made where nothing was before, and links into the cluster's directory everywhere."""
    links = machine / LOG_LINKS
    if links.is_dir():
        for link in links.iterdir():
            if link.is_symlink() and link.readlink().is_relative_to(directory):
                link.unlink()
    if not _record(directory).exists():
        return
    for name in json.loads(_record(directory).read_text()):
        place = machine / name[1:]
        # A disk or a link that somebody put there since holds what is his.
        if place.is_symlink() or place.is_mount():
            continue
        made = [path for pattern in MADE.get(name, ()) for path in place.glob(pattern)]
        for path in [*made, *_dead_sockets(place, machine)]:
            _remove(path)
        for folder in [*(place / part for part in MAYBE_EMPTY.get(name, ())), place]:
            with contextlib.suppress(OSError):  # not there, or it holds what others made
                folder.rmdir()


def _dead_sockets(place: Path, machine: Path) -> Iterator[Path]:
    """Sockets of ended shims; docker's shims have theirs in the same folder, and listen."""
    if place / "s" != machine / SHIM_SOCKETS or not (place / "s").is_dir():
        return
    bound = {line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()}
    for socket in (place / "s").iterdir():
        if socket.is_socket() and str(socket) not in bound:
            yield socket


def _remove(path: Path) -> None:
    """Remove a file or a tree, but nothing that is mounted from elsewhere or lies behind a link."""
    if path.is_symlink() or mounts_below(path):
        return
    if path.is_dir():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _record(directory: Path) -> Path:
    return directory / "absent.json"
