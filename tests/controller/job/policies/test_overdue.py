"""A job runs for as long as it may, over all its attempts, and no longer."""

from datetime import timedelta
from typing import Any

import pytest

from finetune.api.status import AttemptOutcome, Condition, ConditionType, FineTuneJobStatus
from tests.controller.job.builders import NOW, attempt, job, observed, ray_job, record_text, status
from tests.controller.job.decisions import after, condition, decide, deletion, ended, last_attempt

LIMIT: dict[str, Any] = {"runPolicy": {"activeDeadlineSeconds": 100}}


def running(seconds: float, *earlier: Any, active: int | None = None) -> FineTuneJobStatus:
    """A job whose newest attempt has been running for so long."""
    since = NOW - timedelta(seconds=seconds)
    runs = Condition(type="Running", status="True", reason="TrainerRunning", message="runs", last_transition_time=since)
    return status(*earlier, attempt(len(earlier) + 1), conditions=[runs], active_seconds=active)


@pytest.mark.parametrize(("ran", "active", "left"), [(30, None, 70), (30, 50, 20), (0, 99, 1)], ids=["first", "second", "at the limit"])
def test_the_job_is_looked_at_when_its_time_is_over(ran: int, active: int | None, left: float) -> None:
    decision = decide(observed(job(**LIMIT, status=running(ran, active=active)), ray_job()))
    assert (decision.requeue_after, decision.due_within) == (left, left)
    assert last_attempt(decision).outcome is None


@pytest.mark.parametrize(("ran", "active"), [(100, None), (40, 60)], ids=["in one attempt", "in several"])
def test_a_job_that_has_run_for_too_long_fails_and_only_then_loses_its_pods(ran: int, active: int | None) -> None:
    first = decide(observed(job(**LIMIT, status=running(ran, active=active)), ray_job()))
    verdict = condition(first, ConditionType.FAILED)
    assert (verdict.status, verdict.reason) == ("True", "DeadlineExceeded")
    assert "the job has run for 1m, all that runPolicy.activeDeadlineSeconds allows" in verdict.message
    assert (last_attempt(first).outcome, last_attempt(first).job_reason) == (AttemptOutcome.FAILED, "DeadlineExceeded")
    assert first.status.active_seconds == 100
    assert first.actions == ()
    second = decide(observed(job(**LIMIT, status=after(first)), ray_job()), 1)
    assert second.actions == (deletion(1),)
    assert condition(second, ConditionType.FAILED) == verdict


def test_what_was_done_in_time_counts() -> None:
    outcome = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 9.6"}
    known, text = running(1000), record_text(stage="Finished", outcome=outcome)
    decision = decide(observed(job(**LIMIT, status=known), ray_job(1, "SUCCEEDED", "Complete"), record=text))
    assert condition(decision, ConditionType.SUCCEEDED).status == "True"


def test_a_job_between_two_attempts_gets_no_other_and_stays_failed() -> None:
    known = status(ended(1, AttemptOutcome.INTERRUPTED), active_seconds=100)
    first = decide(observed(job(**LIMIT, status=known)))
    assert condition(first, ConditionType.FAILED).reason == "DeadlineExceeded"
    lost = first.status.model_copy(update={"conditions": None})
    for kept in (first.status, lost):
        later = decide(observed(job(**LIMIT, status=kept)), 1000)
        assert condition(later, ConditionType.FAILED).reason == "DeadlineExceeded"
        assert last_attempt(later).number == 1


def test_neither_waiting_nor_suspension_counts() -> None:
    waiting = decide(observed(job(**LIMIT, status=status(attempt())), ray_job(1, "", "Initializing")), 10**5)
    assert last_attempt(waiting).outcome is None
    suspended = job(runPolicy={"activeDeadlineSeconds": 100, "suspend": True}, status=running(60))
    stopped = decide(observed(suspended, ray_job()))
    assert stopped.status.active_seconds == 60
    assert decide(observed(job(**LIMIT, status=after(stopped))), 10**5).status.active_seconds == 60


def test_raising_the_limit_in_time_lets_a_job_go_on() -> None:
    decision = decide(observed(job(runPolicy={"activeDeadlineSeconds": 1000}, status=running(200)), ray_job()))
    assert last_attempt(decision).outcome is None
