"""A job that has ended stays as it is, and nothing of it runs on."""

from datetime import timedelta

import pytest

from finetune.api.status import AttemptOutcome, Condition, ConditionType
from tests.controller.job.builders import NOW, attempt, job, observed, ray_job, status
from tests.controller.job.decisions import after, decide, deletion, ended


@pytest.mark.parametrize("kind", [ConditionType.SUCCEEDED, ConditionType.FAILED])
@pytest.mark.parametrize("suspend", [True, False])
def test_a_job_that_has_ended_stays_as_it_is(kind: ConditionType, suspend: bool) -> None:
    over = Condition(type=kind, status="True", last_transition_time=NOW, reason="Over", message="", observed_generation=1)
    known = status(ended(1, AttemptOutcome.FAILED), conditions=[over])
    once = decide(observed(job(status=known, runPolicy={"suspend": suspend}), ray_job(1, "FAILED", "Failed")))
    again = decide(observed(job(status=after(once), runPolicy={"suspend": suspend})))
    assert once.actions == again.actions == ()
    assert again.status == once.status


def test_a_driver_that_lingers_after_its_last_word_is_cleared_away() -> None:
    over = Condition(type=ConditionType.FAILED, status="True", last_transition_time=NOW, reason="Over", message="")
    young = status(ended(1, AttemptOutcome.FAILED), conditions=[over])
    old = status(attempt(1, outcome=AttemptOutcome.FAILED, end_time=NOW - timedelta(seconds=61)), conditions=[over])
    assert decide(observed(job(status=young), ray_job())).requeue_after == 60
    assert decide(observed(job(status=old), ray_job())).actions == (deletion(1),)


def test_a_ray_job_that_comes_late_when_the_job_has_ended_is_deleted_at_once() -> None:
    over = Condition(type=ConditionType.SUCCEEDED, status="True", last_transition_time=NOW, reason="Over", message="")
    known = status(ended(1, AttemptOutcome.FAILED), ended(2, AttemptOutcome.SUCCEEDED), conditions=[over])
    decision = decide(observed(job(status=known), ray_job(1), ray_job(2)))
    assert (decision.actions, decision.requeue_after) == ((deletion(1),), 60)
    assert decide(observed(job(status=known), ray_job(1))).actions == (deletion(1),)
