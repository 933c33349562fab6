"""Nodes that exist only as objects: what schedules where can be tested without the hardware.

With `ControlPlane.start_scheduler()` pods are bound to such a node by the real scheduler; nobody runs them.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from tests.cluster.api import MERGE, ApiServer

ORDINARY_CAPACITY = {"cpu": "64", "memory": "512Gi", "pods": "110", "ephemeral-storage": "1Ti"}


def fake_node(api: ApiServer, name: str, capacity: Mapping[str, str], labels: Mapping[str, str] | None = None) -> None:
    """Create a Ready node that offers `capacity`, e.g. {"nvidia.com/gpu": "8"}, beside what any machine has."""
    offered = {**ORDINARY_CAPACITY, **capacity}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **(labels or {})},
        },
    }
    api.request("POST", "/api/v1/nodes", node)
    heartbeat = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Fake",
        "lastHeartbeatTime": heartbeat,
        "lastTransitionTime": heartbeat,
    }
    status = {"status": {"capacity": offered, "allocatable": offered, "conditions": [ready]}}
    api.request("PATCH", f"/api/v1/nodes/{name}/status", status, MERGE)


def remove_fake_node(api: ApiServer, name: str) -> None:
    api.request("DELETE", f"/api/v1/nodes/{name}")
