"""Suspending a job, decision by decision."""

from dataclasses import replace

import pytest

from finetune.api.runpolicy import RunPolicy
from finetune.api.status import AttemptOutcome, ConditionType
from tests.controller.job.builders import attempt, job, observed, pod, ray_job, record_text, status, unreadable
from tests.controller.job.decisions import SUSPENDED, after, condition, decide, deletion, ended, last_attempt


def test_an_attempt_that_succeeded_and_is_gone_was_not_suspended() -> None:
    outcome = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 9.6"}
    decision = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt())), record=record_text(outcome=outcome)))
    assert condition(decision, ConditionType.SUCCEEDED).status == "True"


def test_a_job_created_suspended_has_no_attempt() -> None:
    decision = decide(observed(job(runPolicy=SUSPENDED)))
    assert decision.actions == ()
    assert decision.status.attempts is None
    assert condition(decision, ConditionType.SUSPENDED).status == "True"
    assert decision.status.phase == "Suspended"


@pytest.mark.parametrize("started", [True, False], ids=["running", "seen for the first time"])
def test_suspending_ends_the_attempt_uncharged_and_only_then_deletes_its_ray_job(started: bool) -> None:
    pods = [pod(role="head"), pod()]
    known = status(attempt() if started else attempt(start_time=None))
    first = decide(observed(job(runPolicy=SUSPENDED, status=known), ray_job(), pods=pods))
    assert first.actions == ()
    assert first.requeue_after == 1
    assert last_attempt(first).outcome is AttemptOutcome.SUSPENDED
    assert condition(first, ConditionType.SUSPENDED).status == "True"
    second = decide(observed(job(runPolicy=SUSPENDED, status=after(first)), ray_job(), pods=pods))
    assert second.actions == (deletion(1),)
    assert second.status == first.status


def test_a_suspended_job_says_how_many_pods_are_left() -> None:
    decision = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt())), ray_job(), pods=[pod(role="head"), pod()]))
    assert "2 pods" in condition(decision, ConditionType.SUSPENDED).message


def test_a_wish_that_was_withdrawn_before_it_was_written_down_changes_nothing() -> None:
    running = status(attempt())
    decide(observed(job(runPolicy=SUSPENDED, status=running), ray_job()))  # whose status write failed
    decision = decide(observed(job(status=running), ray_job()))
    assert decision.actions == ()
    assert last_attempt(decision).outcome is None


def test_a_ray_job_that_survived_its_suspension_is_deleted_again() -> None:
    known = status(ended(1, AttemptOutcome.SUSPENDED))
    assert decide(observed(job(runPolicy=SUSPENDED, status=known), ray_job())).actions == (deletion(1),)
    assert decide(observed(job(runPolicy=SUSPENDED, status=known), ray_job(deleting=True))).actions == ()


def test_an_attempt_that_ended_before_the_wish_to_suspend_reached_it_has_ended() -> None:
    decision = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt())), ray_job(1, "SUCCEEDED", "Complete")))
    assert condition(decision, ConditionType.SUCCEEDED).status == "True"


def test_a_suspended_job_whose_attempt_failed_rests_and_does_not_retry() -> None:
    failed = ray_job(1, "FAILED", "Failed")
    first = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt())), failed))
    second = decide(observed(job(runPolicy=SUSPENDED, status=after(first)), failed))
    assert second.status.phase == "Suspended"
    assert len(second.status.attempts or []) == 1


def test_a_job_whose_spec_cannot_be_read_can_be_suspended() -> None:
    of = unreadable(job(status=status(attempt())), run_policy=RunPolicy(suspend=True))
    first = decide(observed(of, ray_job()))
    assert first.status.phase == "Suspended"
    second = decide(observed(replace(of, status=first.status), ray_job()))
    assert second.status.phase == "Suspended"
    assert second.actions == (deletion(1),)
