"""What KubeRay says of a Ray cluster, as far as it explains why an attempt does not run: pods it could not create, a suspension.

KubeRay copies a RayCluster's status into its RayJob. The tables have a row for every constant of KubeRay 1.6; what is unknown or missing
says nothing. Pure. Tests: tests/controller/job/test_rayclusters.py, tests/integration/test_kuberay_words.py.
"""

from collections.abc import Mapping
from typing import Any

SUSPENDED = "the Ray cluster was suspended by somebody else, perhaps a queue"
PODS_REFUSED = "KubeRay cannot create or delete pods of the Ray cluster"
MESSAGE_MAX_LENGTH = 1024

BY_STATE: Mapping[str, str] = {
    "": "",
    "ready": "",
    # No release since 1.4 writes it; a pod that fails says why by itself.
    "failed": "KubeRay reports that the Ray cluster has failed",
    "suspended": SUSPENDED,
}
"""What `state` says; empty where the pods say more."""

BY_CONDITION: Mapping[str, str] = {
    "RayClusterProvisioned": "",
    "HeadPodReady": "",
    "ReplicaFailure": PODS_REFUSED,
    "RayClusterSuspending": SUSPENDED,
    "RayClusterSuspended": SUSPENDED,
}
"""What a condition says when it is true; empty where the pods say more."""


def kept_of_cluster(status: Any) -> dict[str, Any]:
    """Return what of a RayCluster's status `trouble_in` reads, for a cache."""
    if not isinstance(status, Mapping):
        return {}
    kept = {name: _text(status.get(name)) for name in ("state", "reason") if status.get(name)}
    conditions = [
        {name: _text(each.get(name)) for name in ("type", "status", "reason", "message")}
        for each in status.get("conditions") or []
        if isinstance(each, Mapping) and each.get("status") == "True" and BY_CONDITION.get(_text(each.get("type")))
    ]
    return {**kept, "conditions": conditions} if conditions else kept


def trouble_in(status: Any) -> str:
    """Return what keeps a Ray cluster from running, in words; empty if nothing is known to."""
    kept = kept_of_cluster(status)
    for condition in kept.get("conditions", []):
        return _words(BY_CONDITION[condition["type"]], condition["reason"], condition["message"])
    said = BY_STATE.get(kept.get("state", ""), "")
    return _words(said, kept.get("reason", "")) if said else ""


def _words(*parts: str) -> str:
    return ": ".join(part for part in parts if part and part not in BY_CONDITION)


def _text(value: Any) -> str:
    return value[:MESSAGE_MAX_LENGTH] if isinstance(value, str) else ""
