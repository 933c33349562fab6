"""Takes a node down again: pods, mounts, bridge, rules, cgroups; also after a crash, from what is on record."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from tests.cluster.instances import Instance
from tests.cluster.leftovers import remove_made
from tests.cluster.mounts import mounts_below, unmount_below
from tests.cluster.network import HostNetwork
from tests.cluster.runtime import ContainerRuntime

CGROUPS = Path("/sys/fs/cgroup")
POD_CGROUP = "kubepods"
UNMOUNT_ATTEMPTS = 5


def tear_down_node(instance: Instance) -> None:
    """Leave the machine as it was; the control plane's processes and the directory are the caller's."""
    processes = instance.processes
    runtime = ContainerRuntime(instance.directory)
    for name in reversed(processes.names()):
        # The kubelet goes first, or it would start again what is being ended; containerd goes last, it knows the pods.
        if name not in ("containerd", "etcd", "kube-apiserver", "kube-controller-manager"):
            processes.stop(name)
    if processes.alive("containerd"):
        runtime.remove_containers()
        processes.stop("containerd")
    runtime.kill_shims()
    for _ in range(UNMOUNT_ATTEMPTS):
        unmount_below(instance.directory)
        if not mounts_below(instance.directory):
            break
        time.sleep(1.0)
    _remove_pod_cgroups()
    HostNetwork(instance.directory).remove()
    remove_made(instance.directory)


def _remove_pod_cgroups() -> None:
    for root in [CGROUPS / POD_CGROUP, *CGROUPS.glob(f"*/{POD_CGROUP}")]:
        for folder, _, _ in os.walk(root, topdown=False):
            with contextlib.suppress(OSError):  # a process that is just ending still holds its group
                Path(folder).rmdir()
