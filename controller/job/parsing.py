"""Reads what the controller knows from the JSON of Kubernetes objects, and whose objects they are.

Objects are parsed defensively: a status that somebody else wrote, or a KubeRay that is newer than this program, must not
stop the controller. Pure. Test: tests/controller/job/test_parsing.py.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from controller.job.facts import Job, PodFacts, RayJobFacts
from controller.job.names import ATTEMPT_LABEL, ROLE_LABEL, UID_LABEL, attempt_of_ray_job
from controller.job.objects.form import form_of
from controller.job.objects.safety import fields_unsafe
from controller.job.rayclusters import trouble_in
from controller.kinds import PRIORITY_LABEL, QUEUE_LABEL
from controller.runtime.resources import KubeObject
from finetune.api.earlier import in_words_of_today
from finetune.api.runpolicy import RunPolicy
from finetune.api.spec import FineTuneJobSpec
from finetune.api.status import FineTuneJobStatus

logger = logging.getLogger(__name__)

OUT_OF_MEMORY = "OOMKilled"
DISRUPTED = "DisruptionTarget"
"""The condition of a pod that Kubernetes itself ends: for a more important one, for a drained, tainted or lost node."""
ORDINARY_WAITING = frozenset({"ContainerCreating", "PodInitializing"})


class StatusUnreadableError(ValueError):
    """A part of the status that every decision depends on cannot be read; the message names the field."""


def job_from(item: KubeObject) -> Job:
    """Read a FineTuneJob."""
    metadata = item["metadata"]
    wire = item.get("spec") or {}
    spec, problem = _spec_from(wire)
    return Job(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 1),
        resource_version=metadata.get("resourceVersion", ""),
        deleting=bool(metadata.get("deletionTimestamp")),
        spec=spec,
        spec_problem=problem,
        run_policy=_run_policy_from(wire.get("runPolicy") or {}),
        status=status_from(item.get("status") or {}),
        queue=(metadata.get("labels") or {}).get(QUEUE_LABEL),
        priority_class=(metadata.get("labels") or {}).get(PRIORITY_LABEL) or "",
    )


def is_managed_elsewhere(item: KubeObject) -> bool:
    """Return whether another controller runs the FineTuneJob: nothing of it is read then, for its status may have any form."""
    return _run_policy_from((item.get("spec") or {}).get("runPolicy") or {}).managed_elsewhere


def ray_job_from(item: KubeObject, job_name: str) -> RayJobFacts:
    """Read a RayJob of the job `job_name`; unknown words are kept as text."""
    metadata, status = item["metadata"], item.get("status") or {}
    return RayJobFacts(
        name=metadata["name"],
        uid=metadata["uid"],
        attempt=_attempt_of_ray_job(item, job_name),
        created=datetime.fromisoformat(metadata["creationTimestamp"]),
        deleting=bool(metadata.get("deletionTimestamp")),
        job_status=status.get("jobStatus") or "",
        deployment_status=status.get("jobDeploymentStatus") or "",
        reason=status.get("reason") or "",
        message=status.get("message") or "",
        cluster=status.get("rayClusterName") or "",
        cluster_trouble=trouble_in(status.get("rayClusterStatus")),
        unsafe=tuple(fields_unsafe_in(item)),
        form=form_of(item),
        queue=(metadata.get("labels") or {}).get(QUEUE_LABEL) or "",
        suspended=is_suspended(item),
    )


def is_suspended(item: KubeObject) -> bool:
    """Return whether a RayJob's spec says that it is suspended; a cache keeps that instead of the spec."""
    return bool((item.get("spec") or {}).get("suspend") or item.get("suspended"))


def fields_unsafe_in(item: KubeObject) -> list[str]:
    """Return the fields that safety depends on and that a RayJob lacks; a cache keeps their names instead of the spec."""
    return list(item["unsafe"]) if "spec" not in item and "unsafe" in item else fields_unsafe(item)


def _attempt_of_ray_job(item: KubeObject, job_name: str) -> int:
    return attempt_of_ray_job(item["metadata"]["name"], job_name) or attempt_of(item)


def pod_from(item: KubeObject) -> PodFacts:
    """Read a pod."""
    metadata, status = item["metadata"], item.get("status") or {}
    reason, message = _waiting(status)
    states = [entry.get(state) or {} for entry in _containers(status) for state in ("state", "lastState")]
    ends = [state["terminated"] for state in states if (state.get("terminated") or {}).get("exitCode")]
    if metadata.get("deletionTimestamp"):
        # A container that is told to stop ends with an error; what it died of before is known all the same.
        ends = [end for end in ends if end.get("reason") == OUT_OF_MEMORY]
    reasons = _reasons_of_end(status, ends)
    return PodFacts(
        name=metadata["name"],
        attempt=attempt_of(item),
        role=(metadata.get("labels") or {}).get(ROLE_LABEL, ""),
        waiting_reason=reason,
        waiting_message=message,
        preparing_since=_preparing_since(metadata, status),
        unclaimed_since=_unclaimed_since(item),
        out_of_memory=any((state.get("terminated") or {}).get("reason") == OUT_OF_MEMORY for state in states),
        node=(item.get("spec") or {}).get("nodeName") or "",
        failed=bool(reasons),
        reasons=reasons,
        exit_code=next((end["exitCode"] for end in ends), None),
        last_words=next((end["message"] for end in ends if end.get("message")), ""),
    )


def _reasons_of_end(status: Mapping[str, Any], ends: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what Kubernetes says of a pod's failure; empty if it has not failed."""
    disruption = [
        condition.get("reason") or ""
        for condition in status.get("conditions") or []
        if condition.get("type") == DISRUPTED and condition.get("status") == "True"
    ]
    said = [status.get("reason") or "", *disruption, *(end.get("reason") or "Error" for end in ends)]
    return tuple(dict.fromkeys(reason for reason in said if reason))


def belongs_to(item: KubeObject, job: Job) -> bool:
    """Return whether an object is this job's: by its owner or, only if nobody owns it, by our label with the job's UID.

    Labels are for people and selectors: somebody may remove or change them, and the object is the job's all the same.
    """
    return is_owned_by(item, job.uid) if item["metadata"].get("ownerReferences") else has_label_of(item, job)


def is_owned_by(item: KubeObject, uid: str) -> bool:
    """Return whether one of an object's owner references has this UID."""
    return uid in {reference.get("uid") for reference in item["metadata"].get("ownerReferences") or []}


def has_label_of(item: KubeObject, job: Job) -> bool:
    """Return whether an object's label has this job's UID: the only link of pods and RayClusters, which KubeRay owns."""
    return (item["metadata"].get("labels") or {}).get(UID_LABEL) == job.uid


def is_ray_job_of(item: KubeObject, job: Job) -> bool:
    """Return whether a RayJob is that of one of the job's attempts."""
    return belongs_to(item, job) and _attempt_of_ray_job(item, job.name) > 0


def attempt_of(item: KubeObject) -> int:
    """Return the attempt number in an object's label, 0 if there is none."""
    text = (item["metadata"].get("labels") or {}).get(ATTEMPT_LABEL, "")
    return int(text) if text.isdecimal() else 0


def status_from(wire: Mapping[str, Any]) -> FineTuneJobStatus:
    """Parse a status without the members that this program cannot read; StatusUnreadableError if those are the attempts."""
    try:
        return FineTuneJobStatus.model_validate(wire)
    except ValidationError as error:
        broken = {str(problem["loc"][0]) for problem in error.errors()}
        for problem in error.errors():
            if problem["loc"][0] == "attempts":
                # Without the attempts nobody knows what runs: a second attempt beside the first would corrupt its output.
                raise StatusUnreadableError(f"{_path('status', problem['loc'])}: {problem['msg']}") from error
        logger.warning("rebuilding status members that cannot be read: %s", ", ".join(sorted(broken)))
        return FineTuneJobStatus.model_validate({name: value for name, value in wire.items() if name not in broken})


def _spec_from(wire: Mapping[str, Any]) -> tuple[FineTuneJobSpec | None, str]:
    try:
        return FineTuneJobSpec.model_validate(in_words_of_today(wire)), ""
    except ValidationError as error:
        return None, "; ".join(f"{_path('spec', problem['loc'])}: {problem['msg']}" for problem in error.errors())


def _path(root: str, location: tuple[int | str, ...]) -> str:
    return root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _run_policy_from(wire: Mapping[str, Any]) -> RunPolicy:
    try:
        return RunPolicy.model_validate(wire)
    except ValidationError as error:
        broken = {problem["loc"][0] for problem in error.errors()}
        return RunPolicy.model_validate({name: value for name, value in wire.items() if name not in broken})


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _waiting(status: Mapping[str, Any]) -> tuple[str, str]:
    """Return reason and message of what the user may have to act on; empty while a pod starts normally."""
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") not in ORDINARY_WAITING:
            return waiting.get("reason") or "", waiting.get("message") or ""
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return condition.get("reason") or "Unschedulable", condition.get("message") or ""
    return "", ""


def _preparing_since(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> datetime | None:
    states = [container.get("state") or {} for container in _containers(status)]
    if not states or any((state.get("waiting") or {}).get("reason") not in ORDINARY_WAITING for state in states):
        return None
    placed = (entry for entry in status.get("conditions") or [] if entry.get("type") == "PodScheduled" and entry.get("status") == "True")
    since = next((entry.get("lastTransitionTime") for entry in placed), None) or metadata.get("creationTimestamp")
    return datetime.fromisoformat(since) if since else None


def _unclaimed_since(pod: KubeObject) -> datetime | None:
    """Return since when a ResourceClaim has not been made for a pod: the scheduler leaves it aside meanwhile and says nothing."""
    spec, status, created = pod.get("spec") or {}, pod.get("status") or {}, pod["metadata"].get("creationTimestamp")
    wanted = {claim.get("name") for claim in spec.get("resourceClaims") or [] if claim.get("resourceClaimTemplateName")}
    made = {claim.get("name") for claim in status.get("resourceClaimStatuses") or []}
    return datetime.fromisoformat(created) if created and not spec.get("nodeName") and wanted - made else None
