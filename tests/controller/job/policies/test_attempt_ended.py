"""How attempts end, and what comes of the job then."""

from typing import Any

import pytest

from finetune.api.conditions import Reason, get_condition
from finetune.api.status import AttemptOutcome, ConditionType
from tests.controller.job.builders import NOW, attempt, job, observed, ray_job, record_text, status, unreadable
from tests.controller.job.decisions import condition, decide, ended, last_attempt


def test_success_needs_both_words_of_the_ray_job() -> None:
    text = record_text(stage="Finished", outcome={"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 9.6"})
    decision = decide(observed(job(status=status(attempt())), ray_job(1, "SUCCEEDED", "Complete"), record=text))
    assert condition(decision, ConditionType.SUCCEEDED).status == "True"
    assert condition(decision, ConditionType.FAILED).status == "False"
    assert condition(decision, ConditionType.RUNNING).status == "False"
    assert last_attempt(decision).outcome is AttemptOutcome.SUCCEEDED
    assert last_attempt(decision).end_time == NOW
    assert decision.status.phase == "Succeeded"
    assert decision.status.dashboard is None


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


def test_without_a_last_report_the_exit_code_shows_that_the_input_is_at_fault() -> None:
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


@pytest.mark.parametrize("there", [True, False], ids=["RayJob is there", "RayJob is gone"])
def test_the_end_of_an_attempt_is_recorded_though_its_spec_cannot_be_read_any_more(there: bool) -> None:
    outcome = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 9.6"}
    ray_jobs = [ray_job(1, "SUCCEEDED", "Complete")] if there else []
    decision = decide(observed(unreadable(job(status=status(attempt()))), *ray_jobs, record=record_text(outcome=outcome)))
    assert condition(decision, ConditionType.SUCCEEDED).status == "True"
