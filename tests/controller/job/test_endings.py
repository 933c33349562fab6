"""How attempts and jobs end, decision by decision."""

from datetime import timedelta
from typing import Any

import pytest

from controller.job.situation import CreateAttempt, DeleteRayJob
from finetune.api.conditions import Reason, get_condition
from finetune.api.status import Attempt, AttemptOutcome, Condition, ConditionType
from tests.controller.job.builders import NOW, attempt, job, observed, pod, ray_job, record_text, status
from tests.controller.job.decisions import after, condition, decide, ended, last_attempt


def test_success_is_told_by_both_words_of_the_ray_job() -> None:
    text = record_text(stage="Finished", outcome={"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 9.6"})
    decision = decide(observed(job(status=status(attempt())), ray_job(1, "SUCCEEDED", "Complete"), record=text))
    assert condition(decision, ConditionType.SUCCEEDED).status == "True"
    assert condition(decision, ConditionType.FAILED).status == "False"
    assert condition(decision, ConditionType.RUNNING).status == "False"
    assert last_attempt(decision).outcome is AttemptOutcome.SUCCEEDED
    assert last_attempt(decision).end_time == NOW
    assert decision.status.phase == "Succeeded"
    assert decision.status.dashboard is None


def test_a_failed_attempt_is_followed_by_another_once_its_pods_are_gone() -> None:
    failed = ray_job(1, "FAILED", "Failed", reason="AppFailed", message="Job entrypoint command failed with exit code 1")
    first = decide(observed(job(status=status(attempt())), failed, pods=[pod(role="head"), pod()]))
    assert last_attempt(first).outcome is AttemptOutcome.FAILED
    assert condition(first, ConditionType.RUNNING).reason == Reason.RETRYING
    assert first.status.phase == "Retrying"

    second = decide(observed(job(status=after(first)), failed, pods=[pod(role="head")]))
    assert last_attempt(second).number == 1
    assert "1 pod of the one before" in condition(second, ConditionType.RUNNING).message
    assert second.requeue_after

    early = decide(observed(job(status=after(second)), failed), 3)
    assert last_attempt(early).number == 1
    assert early.requeue_after == 7
    assert "12:00:10" in condition(early, ConditionType.RUNNING).message
    assert early.status.phase == "Retrying"

    third = decide(observed(job(status=after(second)), failed, pods=[pod(role="submitter")]), 10)
    assert last_attempt(third) == Attempt(number=2, ray_job_name="bot-2")
    fourth = decide(observed(job(status=after(third)), failed))
    assert fourth.actions == (CreateAttempt(2),)


@pytest.mark.parametrize(
    ("cursor", "fields", "reason"),
    [
        (None, {}, "Succeeded"),
        ("1/bot-1-x7k2p/2", {}, "Succeeded"),
        ("1/bot-1-x7k2p/2", {"cluster": "bot-1-older"}, "RayJobDeleted"),
        (None, {"attempt": 2}, "RayJobDeleted"),
        ("1/bot-1-x7k2p/2", {"outcome": {"result": "InputInvalid", "reason": "DataInvalid", "message": "no rows"}}, "DataInvalid"),
        ("1/bot-1-x7k2p/2", {"outcome": None}, "RayJobDeleted"),
    ],
    ids=["never reported", "reported before", "another cluster", "another attempt", "input at fault", "no last word"],
)
def test_of_a_ray_job_that_is_gone_the_trainers_last_word_decides(cursor: str | None, fields: dict[str, Any], reason: str) -> None:
    outcome = {"outcome": {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 9.6"}}
    known = status(attempt(), report_cursor=cursor)
    decision = decide(observed(job(status=known), record=record_text(**(outcome | fields))))
    assert last_attempt(decision).reason == reason


def test_the_last_attempt_that_may_fail_fails_the_job() -> None:
    known = status(ended(1, AttemptOutcome.FAILED), attempt(2))
    failed = ray_job(2, "FAILED", "Failed", message="exit code 1, no luck")
    decision = decide(observed(job(runPolicy={"maxAttempts": 2}, status=known), failed))
    verdict = condition(decision, ConditionType.FAILED)
    assert (verdict.status, verdict.reason) == ("True", Reason.ATTEMPTS_EXHAUSTED)
    assert "2 attempts failed, all that runPolicy.maxAttempts allows" in verdict.message
    assert "no luck" in verdict.message
    assert decision.status.phase == "Failed"


def test_lowering_max_attempts_below_what_has_failed_fails_a_job_that_waits_to_retry() -> None:
    known = status(ended(1, AttemptOutcome.FAILED), ended(2, AttemptOutcome.FAILED))
    decision = decide(observed(job(runPolicy={"maxAttempts": 1}, status=known)))
    assert condition(decision, ConditionType.FAILED).reason == Reason.ATTEMPTS_EXHAUSTED


def test_suspended_and_interrupted_attempts_are_not_charged() -> None:
    known = status(ended(1, AttemptOutcome.SUSPENDED), ended(2, AttemptOutcome.INTERRUPTED), ended(3, AttemptOutcome.FAILED), attempt(4))
    decision = decide(observed(job(runPolicy={"maxAttempts": 3}, status=known), ray_job(4, "FAILED", "Failed")))
    assert get_condition(decision.status, ConditionType.FAILED) is None
    assert condition(decision, ConditionType.RUNNING).reason == Reason.RETRYING


@pytest.mark.parametrize("final", [True, False], ids=["RayJob is final", "RayJob has not noticed"])
def test_the_inputs_fault_fails_the_job_at_once_and_without_retries(final: bool) -> None:
    outcome = {"result": "InputInvalid", "reason": "DataInvalid", "message": "data.train[0]: line 3 is no JSON"}
    words = ("FAILED", "Failed") if final else ("RUNNING", "Running")
    decision = decide(observed(job(status=status(attempt())), ray_job(1, *words), record=record_text(outcome=outcome)))
    verdict = condition(decision, ConditionType.FAILED)
    assert (verdict.status, verdict.reason) == ("True", "DataInvalid")
    assert verdict.message == "data.train[0]: line 3 is no JSON"
    assert decision.status.attempts is not None
    assert len(decision.status.attempts) == 1


def test_without_a_last_word_the_exit_code_tells_of_the_inputs_fault() -> None:
    failed = ray_job(1, "FAILED", "Failed", message="Job entrypoint command failed with exit code 2, last available logs: bad column")
    decision = decide(observed(job(status=status(attempt())), failed))
    verdict = condition(decision, ConditionType.FAILED)
    assert (verdict.status, verdict.reason) == ("True", "InputInvalid")
    assert "bad column" in verdict.message


def test_a_ray_job_that_somebody_deleted_counts_as_a_failed_attempt() -> None:
    decision = decide(observed(job(status=status(attempt()))))
    assert last_attempt(decision).outcome is AttemptOutcome.FAILED
    assert last_attempt(decision).reason == "RayJobDeleted"
    assert condition(decision, ConditionType.RUNNING).reason == Reason.RETRYING


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
    assert decide(observed(job(status=old), ray_job())).actions == (DeleteRayJob("bot-1"),)


def test_a_ray_job_that_comes_late_when_the_job_has_ended_is_deleted_at_once() -> None:
    over = Condition(type=ConditionType.SUCCEEDED, status="True", last_transition_time=NOW, reason="Over", message="")
    known = status(ended(1, AttemptOutcome.FAILED), ended(2, AttemptOutcome.SUCCEEDED), conditions=[over])
    decision = decide(observed(job(status=known), ray_job(1), ray_job(2)))
    assert (decision.actions, decision.requeue_after) == ((DeleteRayJob("bot-1"),), 60)
    assert decide(observed(job(status=known), ray_job(1))).actions == (DeleteRayJob("bot-1"),)
