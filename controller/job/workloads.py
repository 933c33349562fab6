"""What Kueue's Workload of a RayJob says: whether it is admitted, and if not, why.

Pure. Test: tests/controller/job/test_workloads.py.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from controller.job.facts import WorkloadFacts
from controller.runtime.resources import KubeObject
from finetune.api.conditions import Reason

QUEUED = "Queued"
ADMISSION_CHECKS = "AdmissionChecks"
REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
PAUSED = re.compile(r"Queue \S+ is (inactive|stopped)")
"""In the message of a Workload that is inadmissible because its administrator has stopped the queue: that is waiting in a queue."""
IDENTITY = ("uid", "ownerReferences", "deletionTimestamp")
READY = "Ready"
"""The state of an admission check that holds nothing up."""


def workload_of(ray_job_uid: str, items: Iterable[KubeObject]) -> WorkloadFacts | None:
    """Return what Kueue says of the RayJob with this UID; None if it has made no Workload for it.

    Of several, the newest is the one that Kueue goes on with; one that is being deleted counts only where there is no other.
    """
    last = max((item for item in items if _is_controlled_by(item, ray_job_uid)), key=_rank, default=None)
    return None if last is None else workload_from(last)


def says_the_same(old: KubeObject | None, new: KubeObject | None) -> bool:
    """Return whether no more than the words have changed of a Workload, which Kueue puts in others as often as it tries."""
    if old is None or new is None or any(old["metadata"].get(name) != new["metadata"].get(name) for name in IDENTITY):
        return False
    return replace(workload_from(old), message="") == replace(workload_from(new), message="")


def workload_from(item: KubeObject) -> WorkloadFacts:
    """Read a Workload. What it waits for now comes after what it was evicted for: both are needed to act."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    said = {each.get("type"): each for each in status.get("conditions") or []}
    admitted, evicted, reserved = _true(said, "Admitted"), _true(said, "Evicted"), _true(said, "QuotaReserved")
    reason, words, in_vain = QUEUED, list[str](), False
    if reserved:
        reason, words = ADMISSION_CHECKS, [_checks(status)]
    elif "QuotaReserved" in said:
        reason, words = said["QuotaReserved"].get("reason") or QUEUED, [said["QuotaReserved"].get("message") or ""]
        in_vain = reason == Reason.INADMISSIBLE and not PAUSED.search(str(words[0]))
    if spec.get("active") is False:
        reason, in_vain = Reason.DEACTIVATED, True
        words.insert(0, "the Workload is deactivated; set its spec.active to true to queue it again")
    if evicted:
        reason = reason if in_vain else said["Evicted"].get("reason") or reason
        words.insert(0, said["Evicted"].get("message") or "")
    message = "; ".join(dict.fromkeys(each.strip() for each in map(str, words) if each.strip()))
    return WorkloadFacts(
        name=item["metadata"]["name"],
        queue=str(spec.get("queueName") or ""),
        cluster_queue=str((status.get("admission") or {}).get("clusterQueue") or ""),
        admitted=admitted and not evicted,
        evicted=evicted,
        in_vain=in_vain,
        reason=str(reason) if REASON.fullmatch(str(reason)) else QUEUED,
        message=message,
    )


def _is_controlled_by(item: KubeObject, uid: str) -> bool:
    owners = item["metadata"].get("ownerReferences") or []
    return any(each.get("uid") == uid and each.get("controller") is True for each in owners)


def _rank(item: KubeObject) -> tuple[bool, str, str]:
    metadata = item["metadata"]
    return "deletionTimestamp" not in metadata, str(metadata.get("creationTimestamp") or ""), metadata["name"]


def _true(said: Mapping[Any, Mapping[str, Any]], kind: str) -> bool:
    return kind in said and said[kind].get("status") == "True"


def _checks(status: Mapping[str, Any]) -> str:
    queue = (status.get("admission") or {}).get("clusterQueue") or "the ClusterQueue"
    waits = [f"{each.get('name')} ({each.get('state')}) {each.get('message') or ''}".strip() for each in status.get("admissionChecks") or []
             if each.get("state") != READY]  # fmt: skip
    return f"{queue} has reserved the quota" + (f" and waits for its admission checks: {', '.join(waits)}" if waits else "")
