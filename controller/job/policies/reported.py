"""Policy: what the trainer has reported goes into the status. Always passes on.

Pure. Test: tests/controller/job/policies/test_reported.py.
"""

from dataclasses import replace

from controller.job.failures import ray_job_state
from controller.job.refusals import Refused
from controller.job.situation import Situation
from finetune.api import attempts, folding
from finetune.api.cursor import Cursor
from finetune.api.status import Attempt


def reported(situation: Situation) -> Situation:
    """Fold the trainer's newest record into the status, if it is this attempt's, new, and due; wake when it will be due.

    A record that is refused stops nothing, and is counted. For an attempt that has ended, a record is taken
    only where the status has lost what was reported.
    """
    attempt, text = situation.attempt, situation.observed.record
    if attempt is None and situation.status.report_cursor is None:
        attempt = situation.last_attempt
    if attempt is None or not text:
        return situation
    ray_job = situation.observed.ray_job_of(attempt)
    try:
        record, cluster = folding.parse(text), _cluster(situation, attempt)
        elsewhere = cluster is not None and record.attempt == attempt.number and record.cluster != cluster
        if elsewhere and not folding.is_news(situation.status, record):
            return situation  # the last one of a cluster that a queue has taken down, which was taken over while it ran
        folding.check_origin(record, attempt.number, cluster)
        folding.check_order(situation.status, record)
    except folding.RecordError as error:
        return situation.refuse(Refused(error.refusal, f"attempt {attempt.number}", str(error), hash(text)))
    if not folding.is_news(situation.status, record):
        return replace(situation, outcome=record.outcome)
    wait = folding.wait_before_taking(situation.status, record, situation.now)
    if wait.total_seconds() > 0 and ray_job is not None and not ray_job_state(ray_job).final:
        return situation.wake_in(wait)
    status = folding.fold(situation.status, record, situation.now)
    if situation.attempt is None:
        # How it ended has been concluded; its last report must not decide anything more.
        return replace(situation, status=attempts.rested(status))
    return replace(situation, status=status, outcome=record.outcome)


def _cluster(situation: Situation, attempt: Attempt) -> str | None:
    """Return the Ray cluster that the attempt runs in; if its RayJob is gone, the one that reported last, if any did."""
    ray_job = situation.observed.ray_job_of(attempt)
    if ray_job is not None:
        return ray_job.cluster
    cursor = Cursor.parse(situation.status.report_cursor)
    return cursor.cluster if cursor is not None and cursor.attempt == attempt.number else None
