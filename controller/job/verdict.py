"""Whether a job has ended, and how: the attempts decide, and the conditions are made to say the same.

A condition may vanish or be put there by an edit of the status; an attempt that has succeeded stays one. Pure.
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
REASON = re.compile(r"[A-Za-z][A-Za-z0-9]{0,99}")
"""What a condition takes for its reason; a status that was edited may hold anything."""


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


def told_end(status: FineTuneJobStatus) -> Condition | None:
    """Return the condition that says that the job has ended, None if none does."""
    return next((condition for kind in ENDS if (condition := get_condition(status, kind)) is not None and condition.status == "True"), None)


def verdict_on(status: FineTuneJobStatus) -> Verdict | None:
    """Return how the job has ended, None if it has not.

    A job of which nothing but a condition is left has ended as that says: to train a finished model again would be worse than
    to leave the rest to the user, who can create the job anew.
    """
    told = told_end(status)
    last = status.attempts[-1] if status.attempts else None
    if last is None:
        return None if told is None else _as_told(told)
    if last.outcome is AttemptOutcome.SUCCEEDED:
        if told is not None and told.type == ConditionType.SUCCEEDED:
            return _as_told(told)
        return Verdict(ConditionType.SUCCEEDED, Reason.SUCCEEDED, last.message or f"attempt {last.number} succeeded", last.end_time)
    if last.outcome is not AttemptOutcome.FAILED:
        return None
    failed = get_condition(status, ConditionType.FAILED)
    if failed is not None and failed.status == "True":
        return _as_told(failed)
    if last.job_reason is None:
        return None
    if last.job_reason == Reason.ATTEMPTS_EXHAUSTED:
        return Verdict(ConditionType.FAILED, last.job_reason, exhausted(status, last), last.end_time)
    reason = last.job_reason if REASON.fullmatch(last.job_reason) else Cause.TRAINER_FAILED
    return Verdict(ConditionType.FAILED, reason, last.message or "", last.end_time)


def exhausted(status: FineTuneJobStatus, last: Attempt) -> str:
    """Return in words that no attempt is left; how many were allowed then, the job's spec may not tell any more."""
    return f"{attempts.charged(status)} attempts failed, all that runPolicy.maxAttempts allows; the last one: {last.reason}: {last.message}"


def _as_told(condition: Condition) -> Verdict:
    return Verdict(ConditionType(condition.type), condition.reason, condition.message, condition.last_transition_time)


def without_false_ends(status: FineTuneJobStatus) -> FineTuneJobStatus:
    """Return the status without conditions that say that a job has ended which has not."""
    if verdict_on(status) is not None or not any(is_true(status, kind) for kind in ENDS):
        return status
    return status.model_copy(update={"conditions": [condition for condition in status.conditions or [] if condition.type not in ENDS]})


def pronounce(status: FineTuneJobStatus, verdict: Verdict, *, generation: int | None, now: datetime) -> FineTuneJobStatus:
    """Return the status whose conditions say what the verdict is. `Failed` and `Succeeded` are both told: either can be waited for."""
    reason, message, since = verdict.reason, verdict.message, min(verdict.since or now, now)
    status = set_condition(status, verdict.kind, "True", reason, message, generation=generation, now=since)
    return set_condition(status, verdict.opposite, "False", reason, message, generation=generation, now=since)
