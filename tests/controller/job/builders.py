"""Small builders of what the controller sees; each test names only what it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.job.facts import Job, Observed, PodFacts, RayJobFacts
from controller.jobdefaults import JobDefaults
from finetune.api.record import ProgressRecord
from finetune.api.runpolicy import RunPolicy
from finetune.api.spec import FineTuneJobSpec
from finetune.api.status import Attempt, FineTuneJobStatus
from tests.builders import wire_spec

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
UID = "0123abcd-5678-4321-8765-0123456789ab"
FOLDER = "bot-0123abcd"


@dataclass(frozen=True)
class Settings:
    """The operator's settings, as the chart would give them."""

    trainer_image: str = "registry.example/finetune/trainer:1"
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: Sequence[str] = ()
    trainer_env: Mapping[str, str] = field(default_factory=dict)
    head_cpu: str = "300m"
    head_memory: str = "3Gi"
    submitter_cpu: str = "100m"
    submitter_memory: str = "512Mi"
    ray_version: str = "2.60.0"
    gpu_resource: str = "nvidia.com/gpu"
    gpu_claim_template: str | None = None
    allowed_priority_classes: Sequence[str] = ("*",)
    allowed_toleration_keys: Sequence[str] = ("*",)
    allowed_token_secrets: Sequence[str] = ("*",)
    allowed_models: Sequence[str] = ("*",)
    max_workers: int | None = None
    max_gpus: int | None = None
    driver_policy: str | None = None
    defaults: JobDefaults = field(default_factory=JobDefaults)

    def limits_in(self, namespace: str) -> "Settings":
        """The same everywhere."""
        return self

    def defaults_in(self, namespace: str) -> JobDefaults:
        """The same everywhere."""
        return self.defaults


def job(name: str = "bot", *, status: FineTuneJobStatus | None = None, deleting: bool = False, **sections: Any) -> Job:
    """Return a job as it is observed."""
    spec = FineTuneJobSpec.model_validate(wire_spec(**sections))
    return Job(
        name=name,
        namespace="team",
        uid=UID,
        generation=1,
        resource_version="7",
        deleting=deleting,
        spec=spec,
        spec_problem="",
        run_policy=spec.run_policy or RunPolicy(),
        status=status or FineTuneJobStatus(),
    )


def unreadable(of: Job, **fields: Any) -> Job:
    """Return the job as a version of the program sees it that does not understand its spec."""
    return replace(of, **({"spec": None, "spec_problem": "spec.task: of another version"} | fields))


def attempt(number: int = 1, **fields: Any) -> Attempt:
    """Return an entry of status.attempts; started a minute ago unless stated otherwise."""
    started = {"start_time": NOW - timedelta(minutes=1)}
    return Attempt(number=number, ray_job_name=f"bot-{number}", **(started | fields))


def status(*attempts: Attempt, **fields: Any) -> FineTuneJobStatus:
    """Return a status with these attempts."""
    return FineTuneJobStatus(attempts=list(attempts) or None, **fields)


def uid_of(number: int) -> str:
    """Return the UID of an attempt's RayJob."""
    return f"uid-of-bot-{number}"


def ray_job(number: int = 1, job_status: str = "RUNNING", deployment_status: str = "Running", **fields: Any) -> RayJobFacts:
    """Return an attempt's RayJob, running unless stated otherwise."""
    defaults: dict[str, Any] = {"created": NOW - timedelta(minutes=1), "cluster": f"bot-{number}-x7k2p"}
    words = {"job_status": job_status, "deployment_status": deployment_status}
    return RayJobFacts(name=f"bot-{number}", uid=uid_of(number), attempt=number, **(words | defaults | fields))


def pod(number: int = 1, role: str = "worker", **fields: Any) -> PodFacts:
    """Return a pod of an attempt."""
    return PodFacts(name=f"bot-{number}-{role}", attempt=number, role=role, **fields)


def observed(of: Job, *ray_jobs: RayJobFacts, pods: Sequence[PodFacts] = (), **fields: Any) -> Observed:
    """Return what is known of a job."""
    return Observed(job=of, ray_jobs=ray_jobs, pods=tuple(pods), **fields)


def record(**fields: Any) -> ProgressRecord:
    """Return a progress record of attempt 1 at step 20 of 80."""
    defaults: dict[str, Any] = {
        "attempt": 1,
        "cluster": "bot-1-x7k2p",
        "sequence": 3,
        "time": NOW,
        "stage": "Training",
        "progress": {"step": 20, "totalSteps": 80, "epoch": 0.25, "tokensSeen": 4096, "tokensPerSecond": 512.25, "etaSeconds": 61.4},
    }
    return ProgressRecord.model_validate(defaults | fields)


def record_text(**fields: Any) -> str:
    """Return a record as it lies in the ConfigMap."""
    return record(**fields).model_dump_json(by_alias=True, exclude_none=True)


def checkpoint(step: int, **fields: Any) -> dict[str, Any]:
    """Return a checkpoint as the trainer reports it."""
    defaults = {"uri": f"pvc://models/x/checkpoints/step-{step}", "sizeBytes": 1000, "createdTime": NOW, "attempt": 1, "verified": True}
    return {"step": step, **(defaults | fields)}
