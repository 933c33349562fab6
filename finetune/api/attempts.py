"""The list of attempts in status: one entry per RayJob, written before the RayJob exists and closed once.

Pure. Test: tests/finetune/api/test_attempts.py.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from finetune.api.conditions import shortened
from finetune.api.record import LOG_LINE_MAX, LOG_LINES_MAX
from finetune.api.runpolicy import FREE_RETRIES
from finetune.api.status import Attempt, AttemptOutcome, FineTuneJobStatus

KEPT = 100 + FREE_RETRIES
"""Entries kept: maxAttempts allows 100 failures, and some more are free; of more attempts the oldest suspended or interrupted ones go."""
LOGS_KEPT = 3
"""Newest failed attempts whose last log lines are kept."""

RETRY_PAUSE_FIRST = timedelta(seconds=10)
RETRY_PAUSE_LONGEST = timedelta(minutes=5)
RETRY_SPREAD = 0.25
"""Share by which a pause may be longer: jobs that one fault has ended must not all come back at once."""
RETRIED = frozenset({AttemptOutcome.FAILED, AttemptOutcome.INTERRUPTED})


@dataclass(frozen=True)
class Ending:
    """How an attempt ended. `retry`: another attempt may end better; `free`: it failed, and does not count against maxAttempts."""

    outcome: AttemptOutcome
    reason: str
    message: str
    retry: bool = False
    free: bool = False
    exit_code: int | None = None
    log_tail: tuple[str, ...] = ()

    @property
    def charged(self) -> bool:
        """Whether the attempt counts against maxAttempts."""
        return self.outcome is AttemptOutcome.FAILED and not self.free


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
    fields: dict[str, Any] = {
        "message": shortened(ending.message) or None,
        "charged": False if ending.free else None,
        "exit_code": ending.exit_code,
        "log_tail": [line[:LOG_LINE_MAX] for line in ending.log_tail[-LOG_LINES_MAX:]] or None,
    }
    status = update(status, end_time=now, outcome=ending.outcome, reason=str(ending.reason), **fields)
    return rested(_without_old_logs(status))


def _without_old_logs(status: FineTuneJobStatus) -> FineTuneJobStatus:
    with_logs = [attempt.number for attempt in status.attempts or [] if attempt.log_tail]
    old = set(with_logs[:-LOGS_KEPT])
    if not old:
        return status
    kept = [attempt.model_copy(update={"log_tail": None}) if attempt.number in old else attempt for attempt in status.attempts or []]
    return status.model_copy(update={"attempts": kept})


def rested(status: FineTuneJobStatus) -> FineTuneJobStatus:
    """Return the status without what is true of an attempt only while it runs."""
    passing = {"eta_seconds": None, "tokens_per_second": None, "slower_percent": None}
    progress = status.progress.model_copy(update=passing) if status.progress else None
    return status.model_copy(update={"dashboard": None, "progress": progress})


def charged(status: FineTuneJobStatus) -> int:
    """Return how many attempts count against maxAttempts: those that failed, not those that were stopped or that a rule has left free."""
    return sum(attempt.outcome is AttemptOutcome.FAILED and attempt.charged is not False for attempt in status.attempts or [])


def freed(status: FineTuneJobStatus) -> int:
    """Return how many failed attempts a rule has left uncharged."""
    return sum(attempt.charged is False for attempt in status.attempts or [])


def retry_wait(status: FineTuneJobStatus, now: datetime, uid: str = "") -> timedelta:
    """Return how long the next attempt must wait: the pause since the last end doubles with each failure or interruption in a row.

    A job that fails at once, or that is interrupted over and over, must not keep the cluster busy with starts. An attempt
    that the user suspended starts the count again. By up to a quarter, which depends on `uid`, the job's, and on the attempt, the
    pause is longer: the same in every process and after every restart.
    """
    in_a_row = list(takewhile(lambda attempt: attempt.outcome in RETRIED, reversed(status.attempts or [])))
    end = in_a_row[0].end_time if in_a_row else None
    if end is None or end > now:  # a clock that went back must not hold a job for longer than any pause
        return timedelta(0)
    pause = RETRY_PAUSE_FIRST
    for _ in in_a_row[1:]:
        pause = min(2 * pause, RETRY_PAUSE_LONGEST)
    return max(timedelta(0), end + pause + _spread(pause, uid, in_a_row[0].number) - now)


def _spread(pause: timedelta, uid: str, attempt: int) -> timedelta:
    """Return by how much the pause after an attempt is longer, in whole seconds as all times in status are."""
    if not uid:
        return timedelta(0)
    share = int.from_bytes(hashlib.sha256(f"{uid}/{attempt}".encode()).digest()[:4]) / 2**32
    return timedelta(seconds=round(pause.total_seconds() * RETRY_SPREAD * share))


def unfinished(status: FineTuneJobStatus) -> Attempt | None:
    """Return the newest attempt if it has not ended."""
    newest = status.attempts[-1] if status.attempts else None
    return newest if newest is not None and newest.outcome is None else None
