"""Rebuilds a job's history from its objects, where an edit or a restored backup has removed it from the status.

The attempts decide whether a job has ended, and their objects outlive the status: an attempt that has a RayJob or a progress
ConfigMap is an attempt, although the status has lost it. Pure. Test: tests/controller/job/test_history.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from controller.job.facts import Job, RayJobFacts
from controller.job.failures import RayJobState, deleted_ending, ending_of, ray_job_state
from controller.job.names import attempt_of_ray_job
from controller.job.verdict import GIVEN_UP, reported_end
from finetune.api import folding
from finetune.api.attempts import KEPT, Ending, attempt_name
from finetune.api.conditions import shortened
from finetune.api.cursor import Cursor
from finetune.api.record import Outcome
from finetune.api.status import Attempt, AttemptOutcome, Condition, ConditionType, FineTuneJobStatus

STATUS_LOST = "StatusLost"


@dataclass(frozen=True)
class ProgressFacts:
    """A progress ConfigMap of the job: which attempt's, when it was created, and the record in it."""

    attempt: int
    created: datetime
    record: str | None = None


def rebuilt(job: Job, ray_jobs: Sequence[RayJobFacts], reports: Sequence[ProgressFacts]) -> FineTuneJobStatus:
    """Return the job's status with its attempts in order, and those that only their objects still show added to the end.

    `ray_jobs` and `reports` are those that the job owns. The newest attempt that is found is left open, for it may still run:
    how it ended is then concluded as for any other, unless a condition says that the job has ended and no RayJob runs that
    contradicts it. An attempt that counts as failed although its RayJob has succeeded is opened again, unless
    the job had been given up.
    """
    by_number = {
        attempt.number: attempt.model_copy(update={"ray_job_name": attempt_name(job.name, attempt.number)})
        for attempt in job.status.attempts or []
    }
    known = [by_number[number] for number in sorted(by_number)]
    jobs, reported = {attempt_of_ray_job(each.name, job.name): each for each in ray_jobs}, {each.attempt: each for each in reports}
    unknown = _unknown(job.status, known[-1].number if known else 0, {number for number in jobs if number is not None}, set(reported))
    attempts = [*known, *(_found(job.name, number, jobs.get(number), reported.get(number)) for number in unknown)]
    attempts = [*(_closed(each, jobs.get(each.number), reported.get(each.number)) for each in attempts[:-1]), *attempts[-1:]]
    end = reported_end(job.status)
    if unknown:
        attempts = attempts[-KEPT:]
        if end is not None and all(ray_job_state(ray_job).final for ray_job in ray_jobs):
            attempts[-1] = _ended_as_reported(attempts[-1], end)
    if attempts and attempts[-1].outcome not in (None, AttemptOutcome.SUCCEEDED) and attempts[-1].job_reason not in GIVEN_UP:
        ray_job = jobs.get(attempts[-1].number)
        if ray_job is not None and ray_job_state(ray_job) is RayJobState.SUCCEEDED:
            reopened = {"outcome": None, "reason": None, "message": None, "end_time": None, "job_reason": None}
            attempts = [*attempts[:-1], attempts[-1].model_copy(update=reopened)]
    if attempts == (job.status.attempts or []):
        return job.status
    return job.status.model_copy(update={"attempts": attempts})


def _unknown(status: FineTuneJobStatus, newest: int, ray_jobs: set[int], reports: set[int]) -> list[int]:
    """Return the attempt numbers above `newest` that objects show.

    A ConfigMap, which many people may create, is not trusted beyond the attempts that the rest of the status or a RayJob shows;
    where nothing else is left, it is trusted.
    """
    cursor, summary = Cursor.parse(status.report_cursor), status.summary
    numbers = [newest, *ray_jobs, cursor.attempt if cursor else 0, (summary.attempt if summary else None) or 0]
    supported = max(numbers)
    reported = {number for number in reports if not supported or number <= supported}
    return sorted(number for number in ray_jobs | reported if number > newest)[-KEPT:]


def _found(job_name: str, number: int, ray_job: RayJobFacts | None, report: ProgressFacts | None) -> Attempt:
    reported = report.created if report is not None and report.record else None
    return Attempt(number=number, ray_job_name=attempt_name(job_name, number), start_time=ray_job.created if ray_job else reported)


def _closed(attempt: Attempt, ray_job: RayJobFacts | None, report: ProgressFacts | None) -> Attempt:
    """Return an attempt that another one has followed, closed."""
    if attempt.outcome is not None:
        return attempt
    ending = _ending(attempt, ray_job, report)
    fields = {"outcome": ending.outcome, "reason": str(ending.reason), "message": shortened(ending.message) or None}
    return attempt.model_copy(update=fields)


def _ended_as_reported(attempt: Attempt, end: Condition) -> Attempt:
    """Return the newest attempt, of which nothing runs any more, closed as the condition says that the job ended."""
    good = end.type == ConditionType.SUCCEEDED
    fields = {
        "outcome": AttemptOutcome.SUCCEEDED if good else AttemptOutcome.FAILED,
        "reason": "Succeeded" if good else end.reason,
        "message": end.message or None,
        "end_time": end.last_transition_time,
        "job_reason": end.reason,
    }
    return attempt.model_copy(update=fields)


def _ending(attempt: Attempt, ray_job: RayJobFacts | None, report: ProgressFacts | None) -> Ending:
    outcome = _last_word(attempt.number, report)
    if ray_job is not None and ray_job_state(ray_job).final:
        return ending_of(ray_job, outcome, ())
    if ray_job is None and outcome is not None:
        return deleted_ending(attempt.ray_job_name, outcome)
    # It may have been suspended: an unknown end is not charged.
    return Ending(AttemptOutcome.INTERRUPTED, STATUS_LOST, "how this attempt ended was lost with the job's status")


def _last_word(number: int, report: ProgressFacts | None) -> Outcome | None:
    if report is None or not report.record:
        return None
    try:
        record = folding.parse(report.record)
    except folding.RecordError:
        return None
    return record.outcome if record.attempt == number else None
