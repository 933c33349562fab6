"""Suspending a job, decision by decision."""

from dataclasses import replace
from typing import Any

import pytest

from controller.job.facts import Observed
from controller.job.situation import AskToStop
from finetune.api.cursor import Cursor
from finetune.api.runpolicy import RunPolicy
from finetune.api.status import AttemptOutcome, Condition, ConditionType, Progress
from tests.controller.job.builders import NOW, attempt, checkpoint, job, observed, pod, ray_job, record_text, status, unreadable
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


CURSOR = str(Cursor(1, "bot-1-x7k2p", 3))


def said(kind: str) -> Condition:
    return Condition(type=kind, status="True", reason="Said", message="", last_transition_time=NOW)


def suspended_in_training(**fields: Any) -> Observed:
    """A job that is suspended at step 20 of an attempt; `fields` of its status."""
    usual: dict[str, Any] = {"progress": Progress.model_validate({"stage": "Training", "step": 20}), "conditions": [said("Running")]}
    usual["report_cursor"] = CURSOR
    known = status(attempt(last_step=20), **(usual | fields))
    return observed(job(runPolicy=SUSPENDED, status=known), ray_job(), pods=[pod(role="head"), pod()])


def test_a_trainer_that_trains_is_asked_for_a_checkpoint_and_waited_for() -> None:
    what = suspended_in_training()
    first = decide(what)
    assert first.actions == (AskToStop(1, "bot-1-x7k2p"),)
    assert last_attempt(first).stop_requested_time == NOW
    assert last_attempt(first).outcome is None
    assert first.status.phase == "Running"
    stopping = condition(first, ConditionType.SUSPENDED)
    assert (stopping.status, stopping.reason) == ("False", "Stopping")
    assert stopping.message == "attempt 1 writes a checkpoint and ends, at the latest at 12:05:00 UTC"
    again = decide(replace(what, job=replace(what.job, status=after(first))), 200)
    assert (again.actions, again.requeue_after) == (first.actions, 100), "one that failed is repeated"
    assert again.status == first.status


def test_a_trainer_that_was_asked_and_has_stopped_was_suspended_and_not_interrupted() -> None:
    first = decide(suspended_in_training())
    outcome = {"result": "Interrupted", "reason": "Interrupted", "message": "stopped on request"}
    told = record_text(sequence=4, outcome=outcome, stage="Finished", checkpoints=[checkpoint(21)])
    for of_it in (ray_job(), ray_job(1, "FAILED", "Failed")):
        what = observed(job(runPolicy=SUSPENDED, status=after(first)), of_it, record=told)
        decision = decide(what, 30)
        assert last_attempt(decision).outcome is AttemptOutcome.SUSPENDED
        assert decision.status.phase == "Suspended"
        assert [each.step for each in decision.status.checkpoints or []] == [21]


def test_a_trainer_that_does_not_stop_loses_its_pods_after_five_minutes() -> None:
    what = suspended_in_training()
    first = decide(what)
    decision = decide(replace(what, job=replace(what.job, status=after(first))), 300)
    assert last_attempt(decision).outcome is AttemptOutcome.SUSPENDED
    second = decide(replace(what, job=replace(what.job, status=after(decision))), 301)
    assert second.actions == (deletion(1),)


@pytest.mark.parametrize(
    "fields",
    [
        {"progress": Progress.model_validate({"stage": "ReadingData"})},
        {"progress": Progress.model_validate({"stage": "Exporting", "step": 20})},
        {"conditions": [said("Running"), said("Stalled")]},
    ],
    ids=["before training", "after training", "stalled"],
)
def test_a_trainer_that_has_nothing_to_save_or_hangs_is_not_waited_for(fields: dict[str, Any]) -> None:
    decision = decide(suspended_in_training(**fields))
    assert decision.actions == ()
    assert last_attempt(decision).outcome is AttemptOutcome.SUSPENDED


def test_the_progress_of_an_earlier_attempt_is_nothing_to_wait_for() -> None:
    known = status(ended(1, AttemptOutcome.FAILED), attempt(2), progress=Progress.model_validate({"stage": "Training", "step": 20}))
    decision = decide(observed(job(runPolicy=SUSPENDED, status=known), ray_job(2)))
    assert last_attempt(decision).outcome is AttemptOutcome.SUSPENDED


def test_what_an_evicted_cluster_reported_is_nothing_to_wait_for() -> None:
    what = suspended_in_training()
    decision = decide(replace(what, ray_jobs=(ray_job(1, "", "Initializing", cluster="bot-1-next"),)))
    assert decision.actions == ()
    assert last_attempt(decision).outcome is AttemptOutcome.SUSPENDED


def test_a_wish_that_is_withdrawn_while_the_trainer_stops_ends_in_another_attempt() -> None:
    first = decide(suspended_in_training())
    outcome = {"result": "Interrupted", "reason": "Interrupted", "message": "stopped on request"}
    going_on = decide(observed(job(status=after(first)), ray_job()), 10)
    assert condition(going_on, ConditionType.SUSPENDED).reason == "Resumed"
    assert last_attempt(going_on).stop_requested_time is None, "another suspension has its own five minutes"
    stopped = observed(job(status=after(going_on)), ray_job(1, "FAILED", "Failed"), record=record_text(outcome=outcome, stage="Finished"))
    decision = decide(stopped, 30)
    assert last_attempt(decision).outcome is AttemptOutcome.INTERRUPTED
    assert decision.status.phase == "Retrying"


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
