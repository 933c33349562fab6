"""What the caches keep of each kind of object: the members that controller.job reads, and no others.

A RayJob with three pod templates takes tens of KiB of memory, and a finished job stays for as long as its user likes. Pure.
Tests: tests/controller/test_projections.py.
"""

from collections.abc import Iterable
from typing import Any

from controller.runtime.resources import KubeObject
from trainer.config.record import RECORD_KEY

METADATA = (
    "name", "namespace", "uid", "resourceVersion", "generation", "labels", "ownerReferences", "creationTimestamp", "deletionTimestamp",
)  # fmt: skip
LABEL_PREFIX = "finetune.dev/"
RAY_JOB_STATUS = ("jobStatus", "jobDeploymentStatus", "reason", "message", "rayClusterName")
POD_CONTAINERS = ("initContainerStatuses", "containerStatuses")


def kept_of_job(item: KubeObject) -> KubeObject:
    """Keep spec and status of a FineTuneJob, and the kind that its events name."""
    return {**_kept(item, ("apiVersion", "kind", "spec", "status")), "metadata": _metadata(item)}


def kept_of_ray_job(item: KubeObject) -> KubeObject:
    """Keep the words by which KubeRay tells how a RayJob is."""
    return {"metadata": _metadata(item), "status": _kept(item.get("status"), RAY_JOB_STATUS)}


def kept_of_pod(item: KubeObject) -> KubeObject:
    """Keep what tells whether a pod has started, and what it waits for or died of."""
    status = item.get("status") or {}
    containers = {
        name: [_kept(container, ("state", "lastState")) for container in status[name]] for name in POD_CONTAINERS if status.get(name)
    }
    conditions = [condition for condition in status.get("conditions") or [] if condition.get("type") == "PodScheduled"]
    return {"metadata": _metadata(item), "status": {**containers, "conditions": conditions}}


def kept_of_config_map(item: KubeObject) -> KubeObject:
    """Keep the trainer's record; the configuration of the trainer is never read again."""
    return {"metadata": _metadata(item), "data": _kept(item.get("data"), (RECORD_KEY,))}


def kept_of_claim(item: KubeObject) -> KubeObject:
    """Keep that a PersistentVolumeClaim is there."""
    return {"metadata": _kept(item["metadata"], ("name", "namespace", "uid", "resourceVersion"))}


def kept_of_quota(item: KubeObject) -> KubeObject:
    """Keep how much a ResourceQuota allows of what, and how much of it is in use."""
    kept = {"spec": _kept(item.get("spec"), ("hard", "scopes", "scopeSelector")), "status": _kept(item.get("status"), ("used",))}
    return {"metadata": _kept(item["metadata"], ("name", "namespace", "uid", "resourceVersion")), **kept}


def _metadata(item: KubeObject) -> dict[str, Any]:
    metadata = _kept(item["metadata"], METADATA)
    if "labels" in metadata:
        metadata["labels"] = {name: value for name, value in metadata["labels"].items() if name.startswith(LABEL_PREFIX)}
    if "ownerReferences" in metadata:
        metadata["ownerReferences"] = [{"uid": reference.get("uid")} for reference in metadata["ownerReferences"]]
    return metadata


def _kept(value: KubeObject | None, names: Iterable[str]) -> dict[str, Any]:
    return {name: value[name] for name in names if name in value} if value else {}
