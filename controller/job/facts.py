"""What is known about one job at one moment, as frozen values: the only input of a decision.

controller.job.parsing reads them from objects, controller.job.observe gathers them. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from controller.job.names import ROLE_SUBMITTER
from controller.job.objects.form import Form
from controller.job.refusals import Refused
from controller.jobdefaults import JobDefaults
from finetune.api.runpolicy import RunPolicy
from finetune.api.spec import FineTuneJobSpec
from finetune.api.status import Attempt, EarlierJob, FineTuneJobStatus

CONFIG_ERROR = "CreateContainerConfigError"


@dataclass(frozen=True)
class Job:
    """A FineTuneJob. `spec` is None if it cannot be read; `spec_problem` then says why."""

    name: str
    namespace: str
    uid: str
    generation: int
    resource_version: str
    deleting: bool
    spec: FineTuneJobSpec | None
    spec_problem: str
    run_policy: RunPolicy
    """Parsed on its own, so that a running job can be stopped even if the rest of its spec is of another version."""
    status: FineTuneJobStatus
    queue: str | None = None
    """The LocalQueue that its label names; empty for a label without a value, which asks for no queue."""
    priority_class: str = ""
    """The WorkloadPriorityClass that its label names."""

    @property
    def valid_spec(self) -> FineTuneJobSpec:
        """The spec, where it is known to be readable; ValueError if it is not."""
        if self.spec is None:
            raise ValueError(f"{self.namespace}/{self.name}: {self.spec_problem}")
        return self.spec

    @property
    def suspended(self) -> bool:
        """Whether the user wants the job suspended."""
        return self.run_policy.suspend

    @property
    def max_attempts(self) -> int:
        """How many attempts may fail."""
        return self.run_policy.max_attempts


@dataclass(frozen=True)
class RayJobFacts:
    """A RayJob of the job, as KubeRay reports it. `unsafe` lists the fields that safety depends on and that it lacks.

    `queue` is the LocalQueue that its label names, and `suspended` what its spec says: nobody has admitted it, or it was evicted.
    """

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
    cluster_trouble: str = ""
    """What KubeRay says keeps the Ray cluster from running."""
    unsafe: tuple[str, ...] = ()
    form: Form = field(default_factory=Form)
    queue: str = ""
    suspended: bool = False


class Kueue(StrEnum):
    """What is known of Kueue."""

    WATCHED = "Watched"
    ABSENT = "Absent"
    """The cluster does not serve its workloads."""
    FORBIDDEN = "Forbidden"
    """Its workloads may not be listed."""
    UNKNOWN = "Unknown"
    """Its workloads are not listed yet."""


@dataclass(frozen=True)
class WorkloadFacts:
    """What Kueue says of a RayJob: whether it is admitted, and if not, in which word and words it says why."""

    name: str
    queue: str
    cluster_queue: str = ""
    """That has reserved the quota."""
    admitted: bool = False
    evicted: bool = False
    """It was admitted before."""
    in_vain: bool = False
    """Nobody is going to admit it until somebody puts something right."""
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class PodFacts:
    """A pod of one of the job's attempts. `waiting_reason` and `waiting_message` say what keeps a container from starting.

    `preparing_since` is when the pod was scheduled, if no container has started yet: it waits for volumes or images. `unclaimed_since` is
    when it came, if it has not been scheduled for want of a ResourceClaim that is to be made for it.
    """

    name: str
    attempt: int
    role: str
    waiting_reason: str = ""
    waiting_message: str = ""
    preparing_since: datetime | None = None
    unclaimed_since: datetime | None = None
    out_of_memory: bool = False
    node: str = ""
    failed: bool = False
    """Whether a container has ended with an error, or the pod was evicted or lost with its node."""
    reasons: tuple[str, ...] = ()
    """What Kubernetes says of its end, the most telling first: its own reason, that of a disruption, those of containers."""
    exit_code: int | None = None
    last_words: str = ""
    """The end of the log of a container that failed, as the kubelet has kept it."""

    @property
    def trains(self) -> bool:
        """Whether the pod belongs to the Ray cluster, and so may write to the output."""
        return self.role != ROLE_SUBMITTER


@dataclass(frozen=True)
class Missing:
    """What the spec refers to and does not exist. `watched`: its creation triggers another pass."""

    message: str
    watched: bool = False


@dataclass(frozen=True)
class EarlierFacts:
    """An earlier job that the spec names: `job` once it has succeeded, else `problem` says what it is waited for."""

    job: EarlierJob | None = None
    problem: str = ""


@dataclass(frozen=True)
class Supports:
    """The state of the small objects that a running attempt needs beside its RayJob.

    `lost` were deleted by somebody, `foreign` have their names and another owner; both as (kind, name). `altered` says
    what was changed about the progress ConfigMap; `writable` is False where the trainer cannot report into it, and
    `watched` where one of the objects has lost the label that the watch selects.
    """

    lost: tuple[tuple[str, str], ...] = ()
    foreign: tuple[tuple[str, str], ...] = ()
    altered: str = ""
    writable: bool = True
    watched: bool = True


@dataclass(frozen=True)
class Observed:
    """Everything that a decision about one job is based on. `missing` names what the spec refers to and does not exist.

    Before an attempt is created, RayJobs, pods, `clusters` (the attempts that have a RayCluster) and `access_modes` (of the
    claims in use, by name) come from the API server, not from a cache.
    `unwatched`: the attempt's RayJob has lost its label, so no watch reports it. `workload` is what Kueue has made for that RayJob.
    `refused` lists what the job asks for and the administrator does not allow, `defaults` are the administrator's for what it says
    nothing of. `held` are progress ConfigMaps, by name and UID, that
    would outlive the job in their present state.
    `needed_by` names the jobs that start from this one, which has succeeded, and have not written down yet that they found it.
    """

    job: Job
    ray_jobs: tuple[RayJobFacts, ...] = ()
    pods: tuple[PodFacts, ...] = ()
    fallen: tuple[PodFacts, ...] = ()
    """Pods that failed and are gone, the first to go first."""
    clusters: tuple[int, ...] = ()
    access_modes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    record: str | None = None
    missing: tuple[Missing, ...] = ()
    earlier: tuple[EarlierFacts, ...] = ()
    kuberay_installed: bool = True
    kuberay_leaving: bool = False
    """The definition of RayJob is being deleted, and all RayJobs with it."""
    unwatched: bool = False
    kueue: Kueue = Kueue.UNKNOWN
    workload: WorkloadFacts | None = None
    supports: Supports = Supports()
    held: tuple[tuple[str, str], ...] = ()
    needed_by: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    defaults: JobDefaults = field(default_factory=JobDefaults)
    strays: tuple[Refused, ...] = ()
    """Reports that nobody reads, because they are of an attempt that has ended, or of another object than this job."""

    def ray_job_of(self, attempt: Attempt) -> RayJobFacts | None:
        """Return the RayJob of an attempt."""
        return next((ray_job for ray_job in self.ray_jobs if ray_job.name == attempt.ray_job_name), None)

    def pods_of(self, attempt: Attempt) -> list[PodFacts]:
        """Return the pods of an attempt."""
        return [pod for pod in self.pods if pod.attempt == attempt.number]
