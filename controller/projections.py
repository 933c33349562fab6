"""What the caches keep of each kind of object: the members that controller.job reads, and no others.

A RayJob with three pod templates takes tens of KiB of memory, and a finished job stays until its user deletes it. Pure.
Tests: tests/controller/test_projections.py.
"""

from collections.abc import Iterable
from typing import Any

from controller.job.objects.form import Form, form_of
from controller.job.objects.safety import fields_unsafe
from controller.job.parsing import DISRUPTED, is_suspended
from controller.job.rayclusters import kept_of_cluster
from controller.kinds import PRIORITY_LABEL, QUEUE_LABEL, RAY_JOBS
from controller.runtime.resources import KubeObject
from finetune.api.record import RECORD_KEY, RECORD_MAX_BYTES
from finetune.api.spec import GROUP, KIND

METADATA = (
    "name", "namespace", "uid", "resourceVersion", "generation", "labels", "ownerReferences", "creationTimestamp", "deletionTimestamp",
)  # fmt: skip
LABEL_PREFIX = "finetune.dev/"
QUEUE_LABELS = (QUEUE_LABEL, PRIORITY_LABEL)
LABELS_MAX = 16
OWNERS_MAX = 8
"""More than any object needs; whoever may patch an object could give it a mebibyte of them."""
RAY_JOB_STATUS = ("jobStatus", "jobDeploymentStatus", "reason", "message", "rayClusterName")
POD_CONDITIONS = ("PodScheduled", DISRUPTED)
LAST_WORDS_MAX = 2048
"""As much of a log as the kubelet puts into a pod's status; the pod itself may write twice as much there."""
WORKLOAD_CONDITIONS = ("QuotaReserved", "Admitted", "Evicted")
WORKLOAD_WORDS_MAX = 1024
"""Of a message of Kueue's; one for many pod sets and flavors may be longer."""
CHECKS_MAX = 8
POD_CONTAINERS = ("initContainerStatuses", "containerStatuses")


def kept_of_job(item: KubeObject) -> KubeObject:
    """Keep spec and status of a FineTuneJob, and the kind that its events name."""
    return {**_kept(item, ("apiVersion", "kind", "spec", "status")), "metadata": _metadata(item)}


def kept_of_ray_job(item: KubeObject) -> KubeObject:
    """Keep the state that KubeRay reports, which fields the spec lacks that safety depends on, and the attempt's form."""
    form = form_of(item)
    kept: dict[str, Any] = {"form": form.to_wire()} if form != Form() else {}
    kept |= {"suspended": True} if is_suspended(item) else {}
    status = item.get("status") or {}
    cluster = kept_of_cluster(status.get("rayClusterStatus"))
    words = {**_kept(status, RAY_JOB_STATUS), **({"rayClusterStatus": cluster} if cluster else {})}
    return {"metadata": _metadata(item), "status": words, "unsafe": fields_unsafe(item), **kept}


def kept_of_workload(item: KubeObject) -> KubeObject:
    """Keep what Kueue says of a RayJob; of the workloads of other kinds, of which a cluster may have many, that they exist."""
    metadata = _kept(item["metadata"], ("name", "namespace", "uid", "resourceVersion"))
    owners = [each for each in item["metadata"].get("ownerReferences") or [] if each.get("controller") is True and _is_ray_job(each)]
    if not owners:
        return {"metadata": metadata}
    times = _kept(item["metadata"], ("creationTimestamp", "deletionTimestamp"))
    status = item.get("status") or {}
    conditions = [_shortened(each) for each in status.get("conditions") or [] if each.get("type") in WORKLOAD_CONDITIONS]
    checks = [_shortened(_kept(each, ("name", "state", "message"))) for each in (status.get("admissionChecks") or [])[:CHECKS_MAX]]
    return {
        "metadata": {**metadata, **times, "ownerReferences": [_kept(owners[0], ("kind", "name", "uid", "controller"))]},
        "spec": _kept(item.get("spec"), ("queueName", "active")),
        "status": {
            "conditions": conditions,
            **({"admission": _kept(status["admission"], ("clusterQueue",))} if status.get("admission") else {}),
            **({"admissionChecks": checks} if checks else {}),
        },
    }


def _shortened(said: KubeObject) -> KubeObject:
    return {**said, "message": str(said.get("message") or "")[:WORKLOAD_WORDS_MAX]}


def _is_ray_job(reference: KubeObject) -> bool:
    return reference.get("kind") == RAY_JOBS.kind and str(reference.get("apiVersion", "")).startswith(f"{RAY_JOBS.group}/")


def kept_of_pod(item: KubeObject) -> KubeObject:
    """Keep what shows whether a pod has started, and what it waits for or died of."""
    status = item.get("status") or {}
    containers = {name: [_kept_of_container(container) for container in status[name]] for name in POD_CONTAINERS if status.get(name)}
    conditions = [condition for condition in status.get("conditions") or [] if condition.get("type") in POD_CONDITIONS]
    kept = {**_kept(status, ("reason", "resourceClaimStatuses")), **containers, "conditions": conditions}
    return {"metadata": _metadata(item), "spec": _kept(item.get("spec"), ("nodeName", "resourceClaims")), "status": kept}


def _kept_of_container(container: KubeObject) -> KubeObject:
    """Keep a container's states; of what it wrote at its end, the last part."""
    kept = _kept(container, ("state", "lastState"))
    for name, state in kept.items():
        message = ((state or {}).get("terminated") or {}).get("message") or ""
        if len(message) > LAST_WORDS_MAX:
            kept[name] = {**state, "terminated": {**state["terminated"], "message": message[-LAST_WORDS_MAX:]}}
    return kept


def kept_of_config_map(item: KubeObject) -> KubeObject:
    """Keep the trainer's record, cut where it is recognizably too large, and whether it can still be written.

    The trainer's configuration is never read again.
    """
    data = {name: text[: RECORD_MAX_BYTES + 1] for name, text in _kept(item.get("data"), (RECORD_KEY,)).items()}
    metadata = {**_metadata(item), **({"finalizers": ["kept"]} if item["metadata"].get("finalizers") else {})}
    return {"metadata": metadata, "data": data, **_kept(item, ("immutable",))}


def kept_of_support(item: KubeObject) -> KubeObject:
    """Keep that an object exists and whose it is."""
    return {"metadata": _metadata(item)}


def kept_of_claim(item: KubeObject) -> KubeObject:
    """Keep that a PersistentVolumeClaim exists."""
    return {"metadata": _kept(item["metadata"], ("name", "namespace", "uid", "resourceVersion"))}


def kept_of_quota(item: KubeObject) -> KubeObject:
    """Keep what a ResourceQuota allows, its scope, and how much is in use."""
    kept = {"spec": _kept(item.get("spec"), ("hard", "scopeSelector")), "status": _kept(item.get("status"), ("hard", "used"))}
    return {"metadata": _kept(item["metadata"], ("name", "namespace", "uid", "resourceVersion")), **kept}


def _metadata(item: KubeObject) -> dict[str, Any]:
    metadata = _kept(item["metadata"], METADATA)
    if "labels" in metadata:
        ours = [(name, value) for name, value in metadata["labels"].items() if name.startswith(LABEL_PREFIX)]
        metadata["labels"] = dict(ours[:LABELS_MAX]) | _kept(metadata["labels"], QUEUE_LABELS)
    if "ownerReferences" in metadata:
        jobs_first = sorted(metadata["ownerReferences"], key=lambda reference: not _is_job(reference))
        metadata["ownerReferences"] = [_kept_of_owner(reference) for reference in jobs_first[:OWNERS_MAX]]
    return metadata


def _kept_of_owner(reference: KubeObject) -> KubeObject:
    return _kept(reference, ("apiVersion", "kind", "name", "uid") if _is_job(reference) else ("uid",))


def _is_job(reference: KubeObject) -> bool:
    return reference.get("kind") == KIND and str(reference.get("apiVersion", "")).startswith(f"{GROUP}/")


def _kept(value: KubeObject | None, names: Iterable[str]) -> dict[str, Any]:
    return {name: value[name] for name in names if name in value} if value else {}
