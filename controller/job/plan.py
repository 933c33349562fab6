"""The one decision about a job: pure, from what was observed and the time to what is to be done.

The order of the policies is the design: what ends a job comes before what stops it, before what it did, before what it
does next. Test: tests/controller/job/test_plan.py.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from controller.job.facts import Observed
from controller.job.failures import ray_job_state
from controller.job.policies import attempt_ended, deleted, finished, going, invalid, running, start, suspended, unsafe
from controller.job.situation import Plan, Situation
from controller.job.verdict import without_false_ends
from finetune.api import attempts
from finetune.api import folding as progress
from finetune.api.conditions import summarize
from finetune.api.cursor import Cursor
from finetune.api.status import Attempt

Policy = Callable[[Situation], Plan | None]

POLICIES: tuple[Policy, ...] = (deleted, finished, invalid, suspended, attempt_ended, unsafe, going, running, start)


def plan(observed: Observed, now: datetime) -> Plan:
    """Return what is to be done about a job; `now` is in whole seconds, as times in status are."""
    situation, notes = take_report(Situation(observed, without_false_ends(observed.job.status), now))
    for policy in POLICIES:
        decision = policy(situation)
        if decision is not None:
            status = decision.status
            if not observed.job.deleting:
                status = summarize(status, generation=observed.job.generation, now=now)
            return replace(decision, status=status, notes=notes)
    raise AssertionError("the last policy always answers")


def take_report(situation: Situation) -> tuple[Situation, tuple[str, ...]]:
    """Return the situation with the trainer's newest record folded in, if it is this attempt's, new, and due.

    A record that is refused stops nothing; why it was refused is a note for the log. Of an attempt that has ended, it is taken
    where the status has lost what was reported.
    """
    attempt, text = situation.attempt, situation.observed.record
    if attempt is None and situation.status.attempts and situation.status.report_cursor is None:
        attempt = situation.status.attempts[-1]
    if attempt is None or not text:
        return situation, ()
    ray_job = situation.observed.ray_job_of(attempt)
    try:
        record = progress.parse(text)
        progress.check_origin(record, attempt.number, _cluster(situation, attempt))
    except progress.RecordError as error:
        return situation, (str(error),)
    if not progress.is_news(situation.status, record):
        return replace(situation, outcome=record.outcome), ()
    wait = progress.wait_before_taking(situation.status, record, situation.now).total_seconds()
    if wait > 0 and ray_job is not None and not ray_job_state(ray_job).final:
        return replace(situation, report_due_seconds=wait), ()
    status = progress.fold(situation.status, record, situation.now)
    if situation.attempt is None:
        # How it ended was concluded already; its last word must decide nothing more.
        return replace(situation, status=attempts.rested(status)), ()
    return replace(situation, status=status, outcome=record.outcome), ()


def _cluster(situation: Situation, attempt: Attempt) -> str | None:
    """Return the Ray cluster that the attempt runs in; of one whose RayJob is gone, the one that reported last, if any did."""
    ray_job = situation.observed.ray_job_of(attempt)
    if ray_job is not None:
        return ray_job.cluster
    cursor = Cursor.parse(situation.status.report_cursor)
    return cursor.cluster if cursor is not None and cursor.attempt == attempt.number else None
