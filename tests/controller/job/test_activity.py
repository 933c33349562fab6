"""How long a job has run and since when it waits, from one pass to the next."""

from datetime import timedelta
from typing import Any

import pytest

from controller.job.activity import active_time, settled, what_is_waited_for
from finetune.api.conditions import Reason
from finetune.api.status import AttemptOutcome, Condition, FineTuneJobStatus
from tests.controller.job.builders import NOW, attempt, job, ray_job, status
from tests.controller.job.decisions import ended


def said(kind: str, value: Any, reason: str = "Starting", since: int = 0, message: str = "words") -> Condition:
    return Condition(type=kind, status=value, reason=reason, message=message, last_transition_time=NOW + timedelta(seconds=since))


def at(seconds: int, before: FineTuneJobStatus, after: FineTuneJobStatus) -> FineTuneJobStatus:
    number = after.attempts[-1].number if after.attempts else 1
    return settled(before, after, job(), ray_job(number, cluster="c"), NOW + timedelta(seconds=seconds))


RUNS = status(attempt(), conditions=[said("Running", "True", "TrainerRunning")])
STOPPED = status(ended(1, AttemptOutcome.FAILED), conditions=[said("Running", "False", "Retrying", 60)])


def test_the_time_that_was_run_is_added_up_when_the_job_stops_running() -> None:
    assert active_time(RUNS, NOW + timedelta(seconds=40)) == timedelta(seconds=40)
    assert at(40, RUNS, RUNS).active_seconds is None
    stopped = at(60, RUNS, STOPPED)
    assert stopped.active_seconds == 60
    assert active_time(stopped, NOW + timedelta(days=1)) == timedelta(seconds=60)
    again = stopped.model_copy(update={"conditions": [said("Running", "True", "TrainerRunning", 100)]})
    assert at(130, again, STOPPED.model_copy(update={"active_seconds": 60})).active_seconds == 90


def test_a_clock_that_went_back_takes_no_time_away() -> None:
    assert active_time(RUNS, NOW - timedelta(hours=1)) == timedelta(0)


@pytest.mark.parametrize(
    ("conditions", "waits"),
    [
        ([], True),
        ([said("Accepted", "False", Reason.REFERENCE_MISSING)], True),
        ([said("Running", "False", Reason.STARTING)], True),
        ([said("Running", "False", Reason.QUOTA_EXCEEDED)], True),
        ([said("Running", "True", "TrainerRunning")], True),
        ([said("Accepted", "False", Reason.SPEC_INVALID)], False),
        ([said("Running", "False", Reason.QUEUED)], False),
        ([said("Accepted", "False", Reason.EARLIER_JOB_NOT_READY)], False),
        ([said("Accepted", "False", Reason.KUBERAY_MISSING)], False),
        ([said("Suspended", "True", Reason.SUSPENDED)], False),
        ([said("Failed", "True", "AttemptsExhausted")], False),
        ([said("Succeeded", "True", "TrainingSucceeded")], False),
    ],
    ids=[
        "new",
        "a reference",
        "starting",
        "quota",
        "no report yet",
        "invalid",
        "queued",
        "an earlier job",
        "no RayJobs are served",
        "suspended",
        "failed",
        "succeeded",
    ],
)
def test_a_job_waits_while_somebody_else_must_do_something(conditions: list[Condition], waits: bool) -> None:
    now = at(5, status(), status(attempt(), conditions=conditions)).waiting_since
    assert now == (NOW + timedelta(seconds=5) if waits else None)


def test_waiting_goes_on_until_the_attempt_reports() -> None:
    waiting = at(0, status(), status(attempt(), conditions=[said("Running", "False")]))
    running = at(30, waiting, RUNS.model_copy(update={"waiting_since": NOW}))
    assert running.waiting_since == NOW
    assert at(40, running, RUNS.model_copy(update={"report_cursor": "1/c/1"})).waiting_since is None
    other = status(ended(1, AttemptOutcome.FAILED), attempt(2), conditions=RUNS.conditions, report_cursor="1/c/1")
    assert at(50, RUNS, other).waiting_since == NOW + timedelta(seconds=50)
    elsewhere = RUNS.model_copy(update={"report_cursor": "1/evicted/1"})
    assert at(60, RUNS, elsewhere).waiting_since == NOW + timedelta(seconds=60)


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ([said("Accepted", "False", message="no claim"), said("Running", "False", message="is being created")], "no claim"),
        ([said("Accepted", "True"), said("Running", "False", message="no node")], "no node"),
        ([said("Accepted", "True"), said("Running", "True", message="runs in c")], "the trainer's first report; runs in c"),
        ([], "nothing is known"),
    ],
    ids=["refused", "not running", "silent", "new"],
)
def test_what_is_waited_for_is_in_the_conditions(conditions: list[Condition], words: str) -> None:
    assert what_is_waited_for(status(conditions=conditions)) == words
