"""What a policy sees and passes on (a situation), and what comes of a pass (a plan): plain values.

Pure. Test: tests/controller/job/test_situation.py.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from controller.job.facts import Job, Observed, RayJobFacts
from controller.job.refusals import Refused
from controller.runtime.resources import Resource
from finetune.api import attempts
from finetune.api.conditions import set_condition
from finetune.api.record import Outcome
from finetune.api.status import Attempt, ConditionType, FineTuneJobStatus


@dataclass(frozen=True)
class CreateAttempt:
    """Create the objects of an attempt that is in status already."""

    number: int


@dataclass(frozen=True)
class Delete:
    """Delete the object that was observed: if another one has its name by now, nothing is deleted.

    The garbage collector deletes in the background what the object owns.
    """

    resource: Resource
    name: str
    uid: str


@dataclass(frozen=True)
class RestoreSupports:
    """Create again what an attempt that runs needs and somebody has deleted: pairs of kind and name."""

    number: int
    lost: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ReleaseProgress:
    """Let a progress ConfigMap be deleted with its job: restore its owner and labels, remove its finalizers."""

    name: str
    attempt: int
    uid: str


@dataclass(frozen=True)
class AskToStop:
    """Ask the trainer of an attempt, in this Ray cluster, to write a checkpoint and end; its last report answers, or nothing does."""

    attempt: int
    cluster: str


Action = CreateAttempt | Delete | RestoreSupports | ReleaseProgress | AskToStop


@dataclass(frozen=True)
class Plan:
    """What is to be done about a job now, in this order: actions, then one status write. `refused` is what was reported in vain."""

    status: FineTuneJobStatus
    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
    """Seconds after which to look again at the latest; None: only when something changes."""
    due_within: float | None = None
    """Seconds until something is due that a failure of something else must not delay; None: nothing is."""
    refused: tuple[Refused, ...] = ()

    @property
    def creates(self) -> bool:
        """Whether an attempt is to be created."""
        return any(isinstance(action, CreateAttempt) for action in self.actions)

    def held_back(self, status: FineTuneJobStatus) -> "Plan":
        """Return the plan without the creation, and with the status that says why; everything else in it still holds."""
        return replace(self, status=status, actions=tuple(each for each in self.actions if not isinstance(each, CreateAttempt)))


@dataclass(frozen=True)
class Situation:
    """What was observed at one moment, and what the policies have made of it so far.

    Every method returns a new situation, so that a policy hands on what it has decided: later ones see the status as it will
    be, add to the actions, and may ask for an earlier look. `outcome` is how the trainer says that it ended.
    """

    observed: Observed
    status: FineTuneJobStatus
    now: datetime
    outcome: Outcome | None = None
    actions: tuple[Action, ...] = ()
    due: datetime | None = None
    poll: datetime | None = None
    refused: tuple[Refused, ...] = ()

    @property
    def job(self) -> Job:
        """The job."""
        return self.observed.job

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that has not ended."""
        return attempts.unfinished(self.status)

    @property
    def last_attempt(self) -> Attempt | None:
        """The newest attempt, whether it has ended or not."""
        return self.status.attempts[-1] if self.status.attempts else None

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
        """Return the situation with members of the status changed; ValidationError for one that does not exist."""
        return replace(self, status=self.status.changed(**fields))

    def with_attempt(self, **fields: Any) -> "Situation":
        """Return the situation with fields of the newest attempt changed; ValidationError for one that does not exist."""
        return replace(self, status=attempts.update(self.status, **fields))

    def do(self, *actions: Action) -> "Situation":
        """Return the situation with more to do; what is to be done already is done once."""
        return replace(self, actions=tuple(dict.fromkeys((*self.actions, *actions))))

    def wake_at(self, time: datetime) -> "Situation":
        """Return the situation with a deadline: another look at `time` at the latest, also when something fails before."""
        return replace(self, due=_earliest(self.due, time))

    def wake_in(self, pause: timedelta) -> "Situation":
        """Return the situation with another look after a pause, because no watch reports what changes; failures may make it longer."""
        return replace(self, poll=_earliest(self.poll, self.now + pause))

    def refuse(self, report: Refused) -> "Situation":
        """Return the situation with a report that was not taken over."""
        return replace(self, refused=(*self.refused, report))

    def ends(self) -> Plan:
        """End the pass here: no later policy is asked."""
        again, due = (
            None if time is None else max(0.0, (time - self.now).total_seconds()) for time in (_earliest(self.due, self.poll), self.due)
        )
        return Plan(self.status, self.actions, again, due, self.refused)


def _earliest(*times: datetime | None) -> datetime | None:
    return min((time for time in times if time is not None), default=None)
