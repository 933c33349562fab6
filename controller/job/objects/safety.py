"""The fields of a RayJob that must be stored as they were sent, because the safety of the cluster depends on them.

The definition of an older KubeRay drops fields that it does not know, and a webhook may change others: a dashboard without a
token runs whatever anybody sends it. The values that every RayJob must have are defined here, and the builders use them from
here, so that a stored RayJob can be judged on its own. Pure. Test: tests/controller/job/objects/test_safety.py.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from controller.job import names
from controller.job.objects.form import SHARED_ACCOUNT, form_of

IMAGE_USER = 1000
"""User and group of the trainer's image; volumes are made writable for the group."""
HEAD_CONTAINER, WORKER_CONTAINER, SUBMITTER_CONTAINER = "ray-head", "ray-worker", "ray-job-submitter"

# A RayJob without these values is deleted: changing one ends the attempts that run during an upgrade.
RAY_JOB: Mapping[str, Any] = {
    # A constant: KubeRay passes it to a shell, so it must never contain anything of the user's.
    "entrypoint": f"python -m trainer --config {names.CONFIG_DIRECTORY}/{names.CONFIG_KEY}",
    "submissionMode": "K8sJobMode",
    "backoffLimit": 0,
    "shutdownAfterJobFinishes": True,
}
CLUSTER: Mapping[str, Any] = {"authOptions": {"mode": "token"}, "enableInTreeAutoscaling": False}
POD: Mapping[str, Any] = {
    "automountServiceAccountToken": False,
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": IMAGE_USER,
        "runAsGroup": IMAGE_USER,
        "fsGroup": IMAGE_USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
CONTAINER: Mapping[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
}

RAY_JOB_FIELDS, CLUSTER_FIELDS = tuple(RAY_JOB), tuple(CLUSTER)
POD_FIELDS = ("automountServiceAccountToken", "serviceAccountName", "securityContext")
UNKNOWN_FIELD = re.compile(r'unknown field "([^"]+)"')
SHOWN = 5


def fields_refused(message: str) -> list[str]:
    """Return the fields that a strict API server says it does not know; empty if the message is about something else."""
    return sorted(set(UNKNOWN_FIELD.findall(message))) if "strict decoding error" in message else []


def fields_lost(sent: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Return the paths of the fields that safety depends on and that were not stored as they were sent.

    Additions do not matter: the API server adds defaults, queues and policies add tolerations and the like.
    """
    return list(_lost(sent, stored))


def fields_unsafe(stored: Mapping[str, Any]) -> list[str]:
    """Return the paths of the fields that safety depends on and that differ in a stored RayJob from what we send."""
    account = SHARED_ACCOUNT if form_of(stored).shared_account else stored["metadata"]["name"]
    return fields_lost(_required(account), stored)


def words(fields: list[str]) -> str:
    """Return the message for the job's condition: what is wrong and what to do."""
    named = ", ".join(fields[:SHOWN]) + (f" and {len(fields) - SHOWN} more" if len(fields) > SHOWN else "")
    return (
        f"the cluster's definition of RayJob, or a webhook, does not keep {named}: the job would run without safeguards such as the token "
        "of its dashboard, so it is not left running. Install the CustomResourceDefinitions of KubeRay 1.6 or newer (helm does not "
        "upgrade them: kubectl apply --server-side), and the operator of that release"
    )


def _required(account: str) -> dict[str, Any]:
    """Return the fields that safety depends on as every RayJob has them, with the account of its head."""
    cluster = {
        **CLUSTER,
        "headGroupSpec": {"template": _template(HEAD_CONTAINER, serviceAccountName=account)},
        "workerGroupSpecs": [{"template": _template(WORKER_CONTAINER)}],
    }
    return {"spec": {**RAY_JOB, "submitterPodTemplate": _template(SUBMITTER_CONTAINER), "rayClusterSpec": cluster}}


def _template(container: str, **fields: str) -> dict[str, Any]:
    return {"spec": {**POD, **fields, "containers": [{"name": container, **CONTAINER}]}}


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
    """Return whether `stored` has everything in `sent`; a mapping may have more."""
    if isinstance(sent, Mapping):
        return isinstance(stored, Mapping) and all(_keeps(value, stored.get(name)) for name, value in sent.items())
    return bool(sent == stored)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
