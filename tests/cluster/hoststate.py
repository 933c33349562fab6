"""What a node changes on its machine, read before and after: the clean-up is only as good as what it leaves.

Test: tests/cluster/test_hoststate.py
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from tests.cluster.binaries import NODE
from tests.cluster.mounts import mounts_below
from tests.cluster.network import BRIDGE_FILTER, LINKS, LOADED_MODULES, WATCHED_SETTINGS, pod_chains, setting
from tests.cluster.paths import clusters_directory
from tests.cluster.processes import command_line
from tests.cluster.teardown import POD_CGROUP

# The kernel takes down the network links of ended pods in its own time.
SETTLE_SECONDS = 20.0
# By name, because a person may look at a log below the cluster's directory at any time.
PROGRAMS = frozenset({*NODE, "containerd", "containerd-shim-runc-v2", "runc"})
STORAGE_MODULE = b"tests.cluster.storage"


@dataclass(frozen=True)
class HostState:
    """One look at the machine; every member holds lines that a person can act on."""

    mounts: frozenset[str]
    links: frozenset[str]
    chains: frozenset[str]
    modules: frozenset[str]
    processes: frozenset[str]
    settings: dict[str, str]

    @classmethod
    def now(cls, directory: Path | None = None) -> HostState:
        """Look at the machine; `directory` is the cluster's, which before its start it does not have."""
        values = {name: setting(name) for name in WATCHED_SETTINGS}
        return cls(
            mounts=frozenset(str(point) for point in mounts_below(clusters_directory())),
            links=frozenset(path.name for path in LINKS.iterdir()),
            chains=frozenset(" ".join(chain) for chain in pod_chains()),
            modules=frozenset({BRIDGE_FILTER} if (LOADED_MODULES / BRIDGE_FILTER).exists() else ()),
            processes=frozenset(node_processes(directory)),
            settings={name: value for name, value in values.items() if value is not None},
        )

    def changes(self, after: HostState) -> list[str]:
        """What differs afterwards, one line each; empty when the machine is as it was."""
        lines = []
        for kind in (field.name for field in fields(self) if field.name != "settings"):
            old, new = getattr(self, kind), getattr(after, kind)
            lines += [f"{kind}: {name} is left" for name in sorted(new - old)]
            lines += [f"{kind}: {name} is gone" for name in sorted(old - new)]
        # A setting that was not there came with a module that the kernel loaded: it has no former value to go back to.
        for name, old in self.settings.items():
            new = after.settings.get(name)
            if new != old:
                lines.append(f"settings: {name} was {old} and is {'gone' if new is None else new}")
        return lines


def left_by(directory: Path, before: HostState, seconds: float = SETTLE_SECONDS) -> list[str]:
    """Return what still differs from `before` when the machine has had time to settle after a cluster."""
    deadline = time.monotonic() + seconds
    while (changes := before.changes(HostState.now(directory))) and time.monotonic() < deadline:
        time.sleep(0.5)
    return changes


def node_processes(directory: Path | None) -> Iterator[str]:
    """Programs that work below the cluster's directory, and whatever runs in a pod."""
    in_a_pod_ourselves = POD_CGROUP in Path("/proc/self/cgroup").read_text()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            if not arguments[0]:
                continue  # the kernel's own, or ended and not yet reaped: not every machine's first process does
            in_a_pod = POD_CGROUP in (process / "cgroup").read_text() and not in_a_pod_ourselves
            if in_a_pod or (directory is not None and _works_below(directory, arguments)):
                yield f"{process.name} ({command_line(int(process.name))})"


def _works_below(directory: Path, arguments: Sequence[bytes]) -> bool:
    ours = Path(os.fsdecode(arguments[0])).name in PROGRAMS or STORAGE_MODULE in arguments
    return ours and any(os.fsencode(directory) in argument for argument in arguments)
