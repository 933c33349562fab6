"""The list of attempts in status: one entry per RayJob, written before the RayJob exists and closed once.

Pure. Test: tests/finetune/api/test_attempts.py.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from finetune.api.conditions import shortened
from finetune.api.status import Attempt, AttemptOutcome, FineTuneJobStatus

KEPT = 100
"""Entries kept: maxAttempts allows 100 failures; of more attempts (many suspensions) the oldest suspended ones go."""

RETRY_PAUSE_FIRST = timedelta(seconds=10)
RETRY_PAUSE_LONGEST = timedelta(minutes=5)
RETRIED = frozenset({AttemptOutcome.FAILED, AttemptOutcome.INTERRUPTED})


@dataclass(frozen=True)
class Ending:
    """How an attempt ended. `retry`: another attempt may end better; `charged`: it counts against maxAttempts."""

    outcome: AttemptOutcome
    reason: str
    message: str
    retry: bool = False

    @property
    def charged(self) -> bool:
        """Whether the attempt counts against maxAttempts."""
        return self.outcome is AttemptOutcome.FAILED


def attempt_name(job_name: str, attempt: int) -> str:
    """Return the name of an attempt's RayJob, ServiceAccount, Role and RoleBinding.

    Nothing that runs in the attempt may change these, so they go with their job, and the short name is left to people.
    """
    return f"{job_name}-{attempt}"


def begin(status: FineTuneJobStatus, job_name: str) -> FineTuneJobStatus:
    """Return the status with the next attempt, which has no RayJob yet."""
    number = status.attempts[-1].number + 1 if status.attempts else 1
    attempts = [*(status.attempts or []), Attempt(number=number, ray_job_name=attempt_name(job_name, number))]
    if len(attempts) > KEPT:
        rested = next(
            (attempt for attempt in attempts if attempt.outcome in (AttemptOutcome.SUSPENDED, AttemptOutcome.INTERRUPTED)), attempts[0]
        )
        attempts.remove(rested)
    return status.model_copy(update={"attempts": attempts})


def update(status: FineTuneJobStatus, **fields: Any) -> FineTuneJobStatus:
    """Return the status with fields of the newest attempt changed; ValidationError for one that does not exist."""
    if not status.attempts:
        return status
    newest = status.attempts[-1].changed(**fields)
    return status.model_copy(update={"attempts": [*status.attempts[:-1], newest]})


def end(status: FineTuneJobStatus, ending: Ending, now: datetime) -> FineTuneJobStatus:
    """Return the status with the newest attempt closed; the dashboard goes with it, and what is true of a running one only."""
    message = shortened(ending.message) or None
    return rested(update(status, end_time=now, outcome=ending.outcome, reason=str(ending.reason), message=message))


def rested(status: FineTuneJobStatus) -> FineTuneJobStatus:
    """Return the status without what is true of an attempt only while it runs."""
    progress = status.progress.model_copy(update={"eta_seconds": None, "tokens_per_second": None}) if status.progress else None
    return status.model_copy(update={"dashboard": None, "progress": progress})


def charged(status: FineTuneJobStatus) -> int:
    """Return how many attempts count against maxAttempts: those that failed, not those that were stopped."""
    return sum(attempt.outcome is AttemptOutcome.FAILED for attempt in status.attempts or [])


def retry_wait(status: FineTuneJobStatus, now: datetime) -> timedelta:
    """Return how long the next attempt must wait: the pause since the last end doubles with each failure or interruption in a row.

    A job that fails at once, or that is interrupted over and over, must not keep the cluster busy with starts. An attempt
    that the user suspended starts the count again.
    """
    in_a_row = list(takewhile(lambda attempt: attempt.outcome in RETRIED, reversed(status.attempts or [])))
    end = in_a_row[0].end_time if in_a_row else None
    if end is None or end > now:  # a clock that went back must not hold a job for longer than any pause
        return timedelta(0)
    pause = RETRY_PAUSE_FIRST
    for _ in in_a_row[1:]:
        pause = min(2 * pause, RETRY_PAUSE_LONGEST)
    return max(timedelta(0), end + pause - now)


def unfinished(status: FineTuneJobStatus) -> Attempt | None:
    """Return the newest attempt if it has not ended."""
    newest = status.attempts[-1] if status.attempts else None
    return newest if newest is not None and newest.outcome is None else None
