"""The real Kubernetes as pytest fixtures; take them over with `pytest_plugins = ["tests.cluster.fixtures"]`.

A fixture's cluster belongs to the test run: it goes with it, also on SIGTERM, and after `kill -9` the next run ends
what was left. A node that leaves something of itself on the machine fails the run.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from tests.cluster import audit
from tests.cluster.controlplane import ControlPlane, start_control_plane
from tests.cluster.hoststate import HostState, left_by
from tests.cluster.instances import sweep
from tests.cluster.node import NodeCluster, start_node_cluster

pytest_plugins = ["tests.cluster.unselected"]


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the run like Ctrl-C, so that pytest runs the fixtures' clean-up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A control plane with KubeRay's definitions and operator: any user, no pods run."""
    sweep()
    with interrupted_by_sigterm():
        plane = start_control_plane(audit.FLAGS, audit.FILES)
        try:
            plane.start_kuberay()
            yield plane
        finally:
            plane.stop()


@pytest.fixture(scope="session")
def node_cluster() -> Iterator[NodeCluster]:
    """A cluster whose pods run, with the project's images loaded: root only, and one at a time on a machine."""
    sweep()
    before = HostState.now()
    with interrupted_by_sigterm():
        cluster = start_node_cluster()
        try:
            yield cluster
        finally:
            cluster.stop()
    if left := left_by(cluster.directory, before):
        pytest.fail("the cluster is down, and the machine is not as it was before:\n" + "\n".join(left), pytrace=False)
