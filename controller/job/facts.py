"""What is known of one job at one moment, as frozen values: the only thing that deciding sees.

Objects come as their JSON and are read with care: a status that somebody else wrote, or a KubeRay that is newer than this
program, must not stop the controller. Pure. Test: tests/controller/job/test_facts.py.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from controller.job.names import ATTEMPT_LABEL, ROLE_LABEL, ROLE_SUBMITTER, UID_LABEL, attempt_of_ray_job
from controller.job.objects.safety import fields_unsafe
from controller.runtime.resources import KubeObject
from finetune.api.spec import FineTuneJobSpec, RunPolicy
from finetune.api.status import Attempt, FineTuneJobStatus

logger = logging.getLogger(__name__)

OUT_OF_MEMORY = "OOMKilled"
CONFIG_ERROR = "CreateContainerConfigError"
ORDINARY_WAITING = frozenset({"ContainerCreating", "PodInitializing"})


class StatusUnreadableError(ValueError):
    """The part of a status without which nothing may be done cannot be read; the message names the field."""


@dataclass(frozen=True)
class Job:
    """A FineTuneJob. `spec` is None where it cannot be read; `spec_problem` then says why."""

    name: str
    namespace: str
    uid: str
    generation: int
    resource_version: str
    deleting: bool
    spec: FineTuneJobSpec | None
    spec_problem: str
    run_policy: RunPolicy
    """Read by itself: a job that runs can be stopped even if the rest of its spec is of another version."""
    status: FineTuneJobStatus

    @property
    def valid_spec(self) -> FineTuneJobSpec:
        """The spec, for what is only done with a job whose spec could be read; ValueError for any other."""
        if self.spec is None:
            raise ValueError(f"{self.namespace}/{self.name}: {self.spec_problem}")
        return self.spec

    @property
    def suspended(self) -> bool:
        """Whether the user wants the job to rest."""
        return self.run_policy.suspend

    @property
    def max_attempts(self) -> int:
        """How many attempts may fail."""
        return self.run_policy.max_attempts


@dataclass(frozen=True)
class RayJobFacts:
    """A RayJob of the job, as KubeRay reports it. `unsafe` are the fields that safety hangs on and that it does not have."""

    name: str
    uid: str
    attempt: int
    created: datetime
    deleting: bool = False
    job_status: str = ""
    deployment_status: str = ""
    reason: str = ""
    message: str = ""
    cluster: str = ""
    unsafe: tuple[str, ...] = ()


@dataclass(frozen=True)
class PodFacts:
    """A pod of one of the job's attempts. `waiting` is what keeps a container from starting, with its reason.

    `preparing_since` is when a pod got its node that has not started anything there yet: it waits for volumes or images.
    """

    name: str
    attempt: int
    role: str
    waiting_reason: str = ""
    waiting_message: str = ""
    preparing_since: datetime | None = None
    out_of_memory: bool = False

    @property
    def trains(self) -> bool:
        """Whether the pod belongs to the Ray cluster, so that it may write to the output."""
        return self.role != ROLE_SUBMITTER


@dataclass(frozen=True)
class Missing:
    """What the spec refers to and is not there. `watched`: its coming brings the job back by itself."""

    message: str
    watched: bool = False


@dataclass(frozen=True)
class Supports:
    """How the small objects stand that the running attempt needs beside its RayJob.

    `lost` were deleted by somebody, `foreign` have their names and another owner; both as (kind, name). `altered` tells in
    words what was changed about the progress ConfigMap; `writable` is False where the trainer cannot report into it, and
    `watched` where one of the objects has lost the label by which a watch would tell of it.
    """

    lost: tuple[tuple[str, str], ...] = ()
    foreign: tuple[tuple[str, str], ...] = ()
    altered: str = ""
    writable: bool = True
    watched: bool = True


@dataclass(frozen=True)
class Observed:
    """Everything that a decision about one job is made from. `missing` names what the spec refers to and is not there.

    Before an attempt is created, RayJobs, pods and `clusters`, the attempts that have a RayCluster, are as the server has them,
    and so are `access_modes`, those of the claims in use by name.
    `unwatched`: the attempt's RayJob has lost its label, so no watch tells of it. `refused` says which of the job's wishes the
    administrator does not allow. `held` are progress ConfigMaps, by name and UID, that would outlive the job as they are.
    """

    job: Job
    ray_jobs: tuple[RayJobFacts, ...] = ()
    pods: tuple[PodFacts, ...] = ()
    clusters: tuple[int, ...] = ()
    access_modes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    record: str | None = None
    missing: tuple[Missing, ...] = ()
    kuberay_installed: bool = True
    unwatched: bool = False
    supports: Supports = Supports()
    held: tuple[tuple[str, str], ...] = ()
    refused: tuple[str, ...] = ()

    def ray_job_of(self, attempt: Attempt) -> RayJobFacts | None:
        """Return the RayJob of an attempt."""
        return next((ray_job for ray_job in self.ray_jobs if ray_job.name == attempt.ray_job_name), None)

    def pods_of(self, attempt: Attempt) -> list[PodFacts]:
        """Return the pods of an attempt."""
        return [pod for pod in self.pods if pod.attempt == attempt.number]


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
    )


def ray_job_from(item: KubeObject, job_name: str) -> RayJobFacts:
    """Read a RayJob of the job `job_name`; what is missing or new to us is kept as text."""
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
        unsafe=tuple(fields_unsafe_in(item)),
    )


def fields_unsafe_in(item: KubeObject) -> list[str]:
    """Return the fields that safety hangs on and that a RayJob does not have; a cache keeps their names in place of the spec."""
    return list(item["unsafe"]) if "spec" not in item and "unsafe" in item else fields_unsafe(item)


def _attempt_of_ray_job(item: KubeObject, job_name: str) -> int:
    return attempt_of_ray_job(item["metadata"]["name"], job_name) or attempt_of(item)


def pod_from(item: KubeObject) -> PodFacts:
    """Read a pod."""
    metadata, status = item["metadata"], item.get("status") or {}
    reason, message = _waiting(status)
    states = [entry.get(state) or {} for entry in _containers(status) for state in ("state", "lastState")]
    return PodFacts(
        name=metadata["name"],
        attempt=attempt_of(item),
        role=(metadata.get("labels") or {}).get(ROLE_LABEL, ""),
        waiting_reason=reason,
        waiting_message=message,
        preparing_since=_preparing_since(metadata, status),
        out_of_memory=any((state.get("terminated") or {}).get("reason") == OUT_OF_MEMORY for state in states),
    )


def belongs_to(item: KubeObject, job: Job) -> bool:
    """Tell whether a child is this job's: by its owner, and only where nobody owns it, by our label with the job's UID.

    Labels are for people and selectors: somebody may remove or change them, and a child is the job's all the same.
    """
    return is_owned_by(item, job.uid) if item["metadata"].get("ownerReferences") else bears_label_of(item, job)


def is_owned_by(item: KubeObject, uid: str) -> bool:
    """Tell whether one of an object's owner references names the object with this UID."""
    return uid in {reference.get("uid") for reference in item["metadata"].get("ownerReferences") or []}


def bears_label_of(item: KubeObject, job: Job) -> bool:
    """Tell whether an object names this job's UID in its label: the only sign of pods and RayClusters, which KubeRay owns."""
    return (item["metadata"].get("labels") or {}).get(UID_LABEL) == job.uid


def is_ray_job_of(item: KubeObject, job: Job) -> bool:
    """Tell whether a RayJob is that of one of the job's attempts."""
    return belongs_to(item, job) and _attempt_of_ray_job(item, job.name) > 0


def attempt_of(item: KubeObject) -> int:
    """Return the number of the attempt that an object's label names, 0 where none is named."""
    text = (item["metadata"].get("labels") or {}).get(ATTEMPT_LABEL, "")
    return int(text) if text.isdecimal() else 0


def status_from(wire: Mapping[str, Any]) -> FineTuneJobStatus:
    """Read a status, leaving out members that this program does not understand; StatusUnreadableError for attempts."""
    try:
        return FineTuneJobStatus.model_validate(wire)
    except ValidationError as error:
        broken = {str(problem["loc"][0]) for problem in error.errors()}
        for problem in error.errors():
            if problem["loc"][0] == "attempts":
                # Without the attempts it is unknown what runs: a second attempt beside the first would corrupt its output.
                raise StatusUnreadableError(f"{_path('status', problem['loc'])}: {problem['msg']}") from error
        logger.warning("status members that cannot be read are made anew: %s", ", ".join(sorted(broken)))
        return FineTuneJobStatus.model_validate({name: value for name, value in wire.items() if name not in broken})


def _spec_from(wire: Mapping[str, Any]) -> tuple[FineTuneJobSpec | None, str]:
    try:
        return FineTuneJobSpec.model_validate(wire), ""
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
    """Return reason and message of what the user may have to do something about; empty where a pod is on its way."""
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
