"""What must have been stored of a RayJob as it was sent, because the safety of the cluster hangs on it.

KubeRay's definition of an older release drops fields that it does not know, and a webhook may change others: a dashboard
without a token runs whatever it is sent. Pure. Test: tests/controller/job/children/test_safety.py.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

RAY_JOB_FIELDS = ("entrypoint", "submissionMode", "backoffLimit", "shutdownAfterJobFinishes")
CLUSTER_FIELDS = ("authOptions", "enableInTreeAutoscaling")
POD_FIELDS = ("automountServiceAccountToken", "serviceAccountName", "securityContext")
UNKNOWN_FIELD = re.compile(r'unknown field "([^"]+)"')
SHOWN = 5


def fields_refused(message: str) -> list[str]:
    """Return the fields that a strict API server says it does not know; empty if its message is about something else."""
    return sorted(set(UNKNOWN_FIELD.findall(message))) if "strict decoding error" in message else []


def fields_lost(sent: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Return the paths of the fields that safety hangs on and that are not stored as they were sent.

    What was added is not looked at: the API server adds defaults, and queues and policies tolerations and the like.
    """
    return list(_lost(sent, stored))


def words(fields: list[str]) -> str:
    """Return what is wrong and what to do, for the condition of a job."""
    named = ", ".join(fields[:SHOWN]) + (f" and {len(fields) - SHOWN} more" if len(fields) > SHOWN else "")
    return (
        f"the cluster's definition of RayJob, or a webhook, does not keep {named}: the job would run without what keeps it safe, such as "
        "the token of its dashboard, and was not started. Install the CustomResourceDefinitions of KubeRay 1.6 or newer (helm does not "
        "upgrade them: kubectl apply --server-side), and the operator of that release"
    )


def _lost(sent: Mapping[str, Any], stored: Mapping[str, Any]) -> Iterator[str]:
    before, after = sent["spec"], _mapping(stored.get("spec"))
    yield from _unlike("spec", before, after, RAY_JOB_FIELDS)
    yield from _pod("spec.submitterPodTemplate", before["submitterPodTemplate"], after.get("submitterPodTemplate"))
    path, cluster, kept = "spec.rayClusterSpec", before["rayClusterSpec"], _mapping(after.get("rayClusterSpec"))
    yield from _unlike(path, cluster, kept, CLUSTER_FIELDS)
    head = _mapping(kept.get("headGroupSpec"))
    yield from _pod(f"{path}.headGroupSpec.template", cluster["headGroupSpec"]["template"], head.get("template"))
    groups = kept.get("workerGroupSpecs") or []
    for index, group in enumerate(cluster["workerGroupSpecs"]):
        there = _mapping(groups[index]) if index < len(groups) else {}
        yield from _pod(f"{path}.workerGroupSpecs[{index}].template", group["template"], there.get("template"))


def _pod(path: str, sent: Mapping[str, Any], stored: Any) -> Iterator[str]:
    before, after = sent["spec"], _mapping(_mapping(stored).get("spec"))
    yield from _unlike(f"{path}.spec", before, after, POD_FIELDS)
    containers = {entry.get("name"): entry for entry in after.get("containers") or []}
    for index, container in enumerate(before["containers"]):
        there = _mapping(containers.get(container["name"]))
        yield from _unlike(f"{path}.spec.containers[{index}]", container, there, ("securityContext",))


def _unlike(path: str, sent: Mapping[str, Any], stored: Mapping[str, Any], fields: tuple[str, ...]) -> Iterator[str]:
    for name in fields:
        if name in sent and not _keeps(sent[name], stored.get(name)):
            yield f"{path}.{name}"


def _keeps(sent: Any, stored: Any) -> bool:
    """Tell whether `stored` has all that `sent` says; a mapping may say more."""
    if isinstance(sent, Mapping):
        return isinstance(stored, Mapping) and all(_keeps(value, stored.get(name)) for name, value in sent.items())
    return bool(sent == stored)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
