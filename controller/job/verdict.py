"""Whether a job has ended, and how: the attempts decide, and the conditions follow.

An edit of the status may remove or add a condition; an attempt that has succeeded stays one. Pure.
Test: tests/controller/job/test_verdict.py.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from controller.job.failures import Cause
from finetune.api import attempts
from finetune.api.conditions import Reason, get_condition, is_true, set_condition
from finetune.api.status import Attempt, AttemptOutcome, Condition, ConditionType, FineTuneJobStatus

ENDS = (ConditionType.SUCCEEDED, ConditionType.FAILED)
GIVEN_UP = frozenset({Reason.DEADLINE_EXCEEDED, Reason.PENDING_DEADLINE_EXCEEDED})
"""Why the controller ends a job whose attempt could go on, or that waits for another one."""
REASON = re.compile(r"[A-Za-z][A-Za-z0-9]{0,99}")
"""What the API accepts as a condition's reason; a status that was edited may contain anything."""


@dataclass(frozen=True)
class Verdict:
    """The end of a job: which condition is True, and why."""

    kind: ConditionType
    reason: str
    message: str
    since: datetime | None = None

    @property
    def opposite(self) -> ConditionType:
        """The condition that is False."""
        return ConditionType.FAILED if self.kind is ConditionType.SUCCEEDED else ConditionType.SUCCEEDED


def reported_end(status: FineTuneJobStatus) -> Condition | None:
    """Return the condition that says that the job has ended, None if there is none."""
    return next((condition for kind in ENDS if (condition := get_condition(status, kind)) is not None and condition.status == "True"), None)


def verdict_on(status: FineTuneJobStatus) -> Verdict | None:
    """Return how the job has ended, None if it has not.

    If only a condition is left, the job has ended as it says: to train a finished model again would be worse than to leave
    the job alone, for the user can create it again.
    """
    found = reported_end(status)
    last = status.attempts[-1] if status.attempts else None
    if last is None:
        return None if found is None else _as_reported(found)
    if last.outcome is AttemptOutcome.SUCCEEDED:
        if found is not None and found.type == ConditionType.SUCCEEDED:
            return _as_reported(found)
        return Verdict(ConditionType.SUCCEEDED, Reason.SUCCEEDED, last.message or f"attempt {last.number} succeeded", last.end_time)
    if last.outcome is None or (last.outcome is not AttemptOutcome.FAILED and last.job_reason is None):
        return None
    failed = get_condition(status, ConditionType.FAILED)
    if failed is not None and failed.status == "True":
        return _as_reported(failed)
    if last.job_reason is None:
        return None
    if last.job_reason == Reason.ATTEMPTS_EXHAUSTED:
        return Verdict(ConditionType.FAILED, last.job_reason, exhausted(status, last), last.end_time)
    reason = last.job_reason if REASON.fullmatch(last.job_reason) else Cause.TRAINER_FAILED
    if reason in GIVEN_UP and last.reason != reason:
        return Verdict(ConditionType.FAILED, reason, f"the job's deadline passed after attempt {last.number} had ended", last.end_time)
    return Verdict(ConditionType.FAILED, reason, last.message or "", last.end_time)


def exhausted(status: FineTuneJobStatus, last: Attempt) -> str:
    """Return the message that no attempt is left. It has no limit in it: the spec may allow more by now than it did then."""
    return f"{attempts.charged(status)} attempts failed, all that runPolicy.maxAttempts allows; the last one: {last.reason}: {last.message}"


def _as_reported(condition: Condition) -> Verdict:
    return Verdict(ConditionType(condition.type), condition.reason, condition.message, condition.last_transition_time)


def without_false_ends(status: FineTuneJobStatus) -> FineTuneJobStatus:
    """Return the status without conditions that wrongly say that the job has ended."""
    if verdict_on(status) is not None or not any(is_true(status, kind) for kind in ENDS):
        return status
    return status.model_copy(update={"conditions": [condition for condition in status.conditions or [] if condition.type not in ENDS]})


def pronounce(status: FineTuneJobStatus, verdict: Verdict, *, generation: int | None, now: datetime) -> FineTuneJobStatus:
    """Return the status with the verdict in its conditions. Both `Failed` and `Succeeded` are set: users wait for either."""
    reason, message, since = verdict.reason, verdict.message, min(verdict.since or now, now)
    status = set_condition(status, verdict.kind, "True", reason, message, generation=generation, now=since)
    return set_condition(status, verdict.opposite, "False", reason, message, generation=generation, now=since)
