"""The directory of one running cluster, and what is left of clusters whose owner died.

A test run that is killed with -9 cannot clean up; whoever comes next finds its record here, sees that the owner is
gone, and ends what it left.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.paths import clusters_directory
from tests.cluster.processes import ProcessIdentity, ProcessTable

NODE_TIER = "node"
CONTROL_PLANE_TIER = "control-plane"


@dataclass(frozen=True)
class Instance:
    """A cluster's directory; `instance.json` in it tells the tier and who answers for it."""

    directory: Path

    @classmethod
    def create(cls, tier: str, owner: ProcessIdentity | None) -> Instance:
        """Make a new directory. Without an owner the cluster stays up until somebody asks for `down`."""
        instance = cls(Path(tempfile.mkdtemp(prefix=f"{tier}-", dir=clusters_directory())))
        instance._write({"tier": tier, "owner": None if owner is None else [owner.pid, owner.start_ticks]})
        return instance

    @property
    def tier(self) -> str:
        return str(self._read()["tier"])

    @property
    def owner(self) -> ProcessIdentity | None:
        owner = self._read()["owner"]
        return None if owner is None else ProcessIdentity(*owner)

    @property
    def orphaned(self) -> bool:
        owner = self.owner
        return owner is not None and not owner.alive()

    @property
    def processes(self) -> ProcessTable:
        return ProcessTable(self.directory)

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    def release(self) -> None:
        """From now on the cluster outlives the process that made it."""
        self._write({**self._read(), "owner": None})

    def tear_down(self) -> None:
        """End what was started and remove the directory; a node takes down its pods, mounts and rules too."""
        if self.tier == NODE_TIER:
            from tests.cluster.teardown import tear_down_node  # it needs root's tools, which a control plane does not

            tear_down_node(self)
        self.processes.stop_all()
        with contextlib.suppress(FileNotFoundError):  # another process may have been faster
            shutil.rmtree(self.directory)

    def _read(self) -> dict[str, Any]:
        return dict(json.loads((self.directory / "instance.json").read_text()))

    def _write(self, content: dict[str, object]) -> None:
        partial = self.directory / "instance.partial"
        partial.write_text(json.dumps(content))
        partial.rename(self.directory / "instance.json")


def instances() -> Iterator[Instance]:
    """Every cluster that this user's cache knows of, running or left behind."""
    for record in sorted(clusters_directory().glob("*/instance.json")):
        with contextlib.suppress(FileNotFoundError):  # another process may be removing it
            yield Instance(record.parent)


def this_process() -> ProcessIdentity:
    return ProcessIdentity.of(os.getpid())


def sweep() -> None:
    """Take down every cluster whose owner died without doing so."""
    for instance in instances():
        if instance.orphaned:
            instance.tear_down()
