"""Suspending a job and resuming it, decision by decision."""

import pytest

from controller.job.facts import Missing, Observed
from controller.job.situation import DeleteRayJob
from finetune.api.conditions import Reason
from finetune.api.status import AttemptOutcome, ConditionType
from tests.controller.job.builders import attempt, job, observed, pod, ray_job, record_text, status
from tests.controller.job.decisions import SUSPENDED, after, condition, decide, ended, last_attempt


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


@pytest.mark.parametrize(
    ("started", "there"),
    [(True, True), (False, True), (False, False)],
    ids=["running", "created and seen for the first time", "created perhaps, not yet seen"],
)
def test_suspending_ends_the_attempt_uncharged_and_only_then_deletes_its_ray_job(started: bool, there: bool) -> None:
    ray_jobs, pods = ([ray_job()], [pod(role="head"), pod()]) if there else ([], [])
    known = status(attempt() if started else attempt(start_time=None))
    first = decide(observed(job(runPolicy=SUSPENDED, status=known), *ray_jobs, pods=pods))
    assert first.actions == ()
    assert first.requeue_after == 1
    assert last_attempt(first).outcome is AttemptOutcome.SUSPENDED
    assert condition(first, ConditionType.SUSPENDED).status == "True"
    second = decide(observed(job(runPolicy=SUSPENDED, status=after(first)), *ray_jobs, pods=pods))
    assert second.actions == (DeleteRayJob("bot-1"),)
    assert second.status == first.status


def test_a_suspended_job_tells_how_many_pods_are_left() -> None:
    decision = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt())), ray_job(), pods=[pod(role="head"), pod()]))
    assert "2 pods" in condition(decision, ConditionType.SUSPENDED).message


def test_a_wish_that_was_withdrawn_before_it_was_written_down_changes_nothing() -> None:
    running = status(attempt())
    decide(observed(job(runPolicy=SUSPENDED, status=running), ray_job()))  # whose status write failed
    decision = decide(observed(job(status=running), ray_job()))
    assert decision.actions == ()
    assert last_attempt(decision).outcome is None


def test_resuming_before_the_ray_job_was_deleted_deletes_it_and_waits() -> None:
    first = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt())), ray_job()))
    resumed = decide(observed(job(status=after(first)), ray_job()))
    assert resumed.actions == (DeleteRayJob("bot-1"),)
    assert len(resumed.status.attempts or []) == 1
    assert condition(resumed, ConditionType.RUNNING).reason == Reason.WAITING_FOR_PODS


def test_resuming_deletes_a_ray_job_that_was_perhaps_created_and_never_seen() -> None:
    first = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt(start_time=None)))))
    resumed = decide(observed(job(status=after(first))))
    assert resumed.actions == (DeleteRayJob("bot-1"),)
    assert last_attempt(resumed).number == 2


def test_a_ray_job_that_survived_its_suspension_is_deleted_again() -> None:
    known = status(ended(1, AttemptOutcome.SUSPENDED))
    assert decide(observed(job(runPolicy=SUSPENDED, status=known), ray_job())).actions == (DeleteRayJob("bot-1"),)
    assert decide(observed(job(runPolicy=SUSPENDED, status=known), ray_job(deleting=True))).actions == ()


def test_resuming_starts_the_next_attempt_once_nothing_of_the_old_one_is_left() -> None:
    known = decide(observed(job(runPolicy=SUSPENDED, status=status(ended(1, AttemptOutcome.SUSPENDED))))).status
    for left in (observed(job(status=known), pods=[pod()]), observed(job(status=known), ray_job(deleting=True))):
        waits = decide(left)
        assert len(waits.status.attempts or []) == 1
        assert condition(waits, ConditionType.RUNNING).reason == Reason.WAITING_FOR_PODS
    resumed = decide(observed(job(status=known)))
    assert last_attempt(resumed).number == 2
    assert condition(resumed, ConditionType.SUSPENDED).status == "False"


RESTS = decide(observed(job(runPolicy=SUSPENDED, status=status(ended(1, AttemptOutcome.SUSPENDED))))).status


@pytest.mark.parametrize(
    ("waits", "phase"),
    [
        (observed(job(status=RESTS), missing=(Missing("output: there is no claim"),)), "Waiting"),
        (observed(job(status=RESTS), kuberay_installed=False), "Waiting"),
        (observed(job(status=RESTS, model={"path": "here"})), "Invalid"),
        (observed(job(status=RESTS), pods=[pod()]), "Starting"),
    ],
    ids=["a reference is missing", "KubeRay is missing", "invalid", "pods are left"],
)
def test_a_resumed_job_that_has_to_wait_is_not_told_to_be_resumed(waits: Observed, phase: str) -> None:
    decision = decide(waits)
    assert condition(decision, ConditionType.SUSPENDED).status == "False"
    assert decision.status.phase == phase


def test_an_attempt_that_ended_before_the_wish_to_suspend_reached_it_has_ended() -> None:
    decision = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt())), ray_job(1, "SUCCEEDED", "Complete")))
    assert condition(decision, ConditionType.SUCCEEDED).status == "True"


def test_a_suspended_job_whose_attempt_failed_rests_and_does_not_retry() -> None:
    failed = ray_job(1, "FAILED", "Failed")
    first = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt())), failed))
    second = decide(observed(job(runPolicy=SUSPENDED, status=after(first)), failed))
    assert second.status.phase == "Suspended"
    assert len(second.status.attempts or []) == 1
