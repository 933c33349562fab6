"""What a policy sees (a situation) and what it may answer (a plan): plain values, no behaviour of Kubernetes.

Pure. Test: tests/controller/job/test_plan.py.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from controller.job.facts import Job, Observed, RayJobFacts
from finetune.api import attempts
from finetune.api.conditions import set_condition
from finetune.api.record import Outcome
from finetune.api.status import Attempt, ConditionType, FineTuneJobStatus


@dataclass(frozen=True)
class CreateAttempt:
    """Create the objects of an attempt that status has already, the RayJob last."""

    number: int


@dataclass(frozen=True)
class DeleteRayJob:
    """Delete a RayJob; KubeRay and the garbage collector take its cluster and pods away."""

    name: str


@dataclass(frozen=True)
class RestoreSupports:
    """Create again what an attempt that runs needs and somebody has deleted: pairs of kind and name."""

    number: int
    lost: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ReleaseProgress:
    """Take from a progress ConfigMap what makes it outlive its job: it gets its owner and labels back, and loses finalizers."""

    name: str
    attempt: int
    uid: str


Action = CreateAttempt | DeleteRayJob | RestoreSupports | ReleaseProgress


@dataclass(frozen=True)
class Plan:
    """What is to be done about a job now. `notes` are for the controller's log."""

    status: FineTuneJobStatus
    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Situation:
    """What was observed, the status as it shall be so far, and what the trainer said last, at one moment."""

    observed: Observed
    status: FineTuneJobStatus
    now: datetime
    outcome: Outcome | None = None
    report_due_seconds: float | None = None

    @property
    def job(self) -> Job:
        """The job."""
        return self.observed.job

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that has not ended."""
        return attempts.unfinished(self.status)

    @property
    def ray_job(self) -> RayJobFacts | None:
        """The RayJob of the attempt that has not ended."""
        attempt = self.attempt
        return self.observed.ray_job_of(attempt) if attempt is not None else None

    def condition(self, kind: ConditionType, value: Literal["True", "False"], reason: str, message: str) -> "Situation":
        """Return the situation with a condition set."""
        status = set_condition(self.status, kind, value, reason, message, generation=self.job.generation, now=self.now)
        return replace(self, status=status)

    def with_status(self, **fields: Any) -> "Situation":
        """Return the situation with members of the status changed."""
        return replace(self, status=self.status.model_copy(update=fields))

    def with_attempt(self, **fields: Any) -> "Situation":
        """Return the situation with fields of the newest attempt changed."""
        return replace(self, status=attempts.update(self.status, **fields))

    def plan(self, *actions: Action, requeue_after: float | None = None) -> Plan:
        """Return the plan that ends here."""
        return Plan(self.status, actions, requeue_after)
