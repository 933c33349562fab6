"""Whether a job has ended: the attempts decide."""

from datetime import timedelta
from typing import Any

import pytest

from controller.job.facts import Observed
from controller.job.situation import CreateAttempt
from controller.job.verdict import verdict_on, without_false_ends
from finetune.api.conditions import Reason, get_condition
from finetune.api.status import Attempt, AttemptOutcome, Condition, ConditionType, FineTuneJobStatus
from tests.controller.job.builders import NOW, attempt, job, observed, ray_job, record_text, status
from tests.controller.job.decisions import SUSPENDED, condition, decide, ended

EARLIER = NOW - timedelta(hours=1)


def said(kind: str, reason: str = "Why") -> Condition:
    return Condition(type=kind, status="True", reason=reason, message="words", last_transition_time=EARLIER)


def over(number: int, outcome: str, job_reason: str | None = None, **fields: Any) -> Attempt:
    words = {"reason": "DataInvalid", "message": "row 3 is no JSON", "end_time": EARLIER}
    return attempt(number, outcome=outcome, job_reason=job_reason, **(words | fields))


@pytest.mark.parametrize(
    ("known", "end"),
    [
        (status(over(1, "Succeeded")), ("Succeeded", "TrainingSucceeded")),
        (status(over(1, "Failed", "DataInvalid")), ("Failed", "DataInvalid")),
        (status(over(1, "Failed"), over(2, "Failed", "AttemptsExhausted")), ("Failed", "AttemptsExhausted")),
        (status(over(1, "Failed", "no reason at all")), ("Failed", "TrainerFailed")),
        (status(over(1, "Failed"), conditions=[said("Failed")]), ("Failed", "Why")),
        (status(over(1, "Succeeded"), conditions=[said("Failed")]), ("Succeeded", "TrainingSucceeded")),
        (status(over(1, "Failed", "DataInvalid"), conditions=[said("Succeeded")]), ("Failed", "DataInvalid")),
        (status(conditions=[said("Succeeded")]), ("Succeeded", "Why")),
        (status(conditions=[said("Failed")]), ("Failed", "Why")),
        (status(over(1, "Failed")), None),
        (status(over(1, "Failed"), conditions=[said("Succeeded")]), None),
        (status(over(1, "Suspended"), conditions=[said("Failed")]), None),
        (status(over(1, "Interrupted"), conditions=[said("Succeeded")]), None),
        (status(attempt(), conditions=[said("Succeeded")]), None),
        (status(over(1, "Succeeded"), attempt(2), conditions=[said("Succeeded")]), None),
        (status(), None),
    ],
    ids=[
        "succeeded, conditions lost", "failed, conditions lost", "exhausted, conditions lost", "a reason that was edited",
        "failed by an older version", "said to have failed", "said to have succeeded", "success is all that is left",
        "failure is all that is left", "to be tried again", "failed, and said to have succeeded", "suspended", "interrupted",
        "runs", "runs again", "nothing",
    ],
)  # fmt: skip
def test_the_attempts_decide_whether_a_job_has_ended(known: FineTuneJobStatus, end: tuple[str, str] | None) -> None:
    verdict = verdict_on(known)
    assert (None if verdict is None else (verdict.kind.value, verdict.reason)) == end


def test_a_condition_that_the_attempts_contradict_is_taken_away_and_no_other() -> None:
    known = status(attempt(), conditions=[said("Running"), said("Succeeded"), said("Failed")])
    assert [c.type for c in without_false_ends(known).conditions or []] == ["Running"]


@pytest.mark.parametrize(
    "lost",
    [{}, {"conditions": None}, {"conditions": [said("Running")]}, {"observed_generation": 99, "phase": "Running", "summary": None}],
    ids=["nothing", "all conditions", "half of them", "wrong words"],
)
@pytest.mark.parametrize("outcome", [AttemptOutcome.SUCCEEDED, AttemptOutcome.FAILED])
def test_a_finished_job_trains_never_again_and_says_so_again(outcome: AttemptOutcome, lost: dict[str, Any]) -> None:
    good = outcome is AttemptOutcome.SUCCEEDED
    word = {"result": "Succeeded" if good else "InputInvalid", "reason": "Succeeded" if good else "DataInvalid", "message": "words"}
    final = ray_job(1, "SUCCEEDED" if good else "FAILED", "Complete" if good else "Failed")
    first = decide(observed(job(status=status(attempt())), final, record=record_text(outcome=word))).status
    again = decide(observed(job(status=first.model_copy(update=lost)), final), 3600)
    assert again.actions == ()
    assert again.status.attempts == first.attempts
    kind = ConditionType.SUCCEEDED if good else ConditionType.FAILED
    was, now = condition(first, kind), condition(again, kind)
    assert (now.status, now.reason, now.message, now.last_transition_time) == (
        was.status,
        was.reason,
        was.message,
        was.last_transition_time,
    )
    assert (again.status.phase, again.status.observed_generation) == (first.phase, 1)
    assert condition(again, ConditionType.RUNNING).reason == Reason.FINISHED
    assert condition(again, ConditionType.ACCEPTED).status == "True"


def test_exhausted_attempts_stay_exhausted_without_their_condition() -> None:
    known = status(ended(1, AttemptOutcome.FAILED), ended(2, AttemptOutcome.FAILED), ended(3, AttemptOutcome.FAILED))
    first = decide(observed(job(status=known))).status
    raised = job(status=first.model_copy(update={"conditions": None}), runPolicy={"maxAttempts": 9})
    again = decide(observed(raised), 3600)
    assert again.actions == ()
    failed = condition(again, ConditionType.FAILED)
    assert (failed.status, failed.reason) == ("True", Reason.ATTEMPTS_EXHAUSTED)
    assert failed.message.startswith("3 attempts failed")


@pytest.mark.parametrize(
    "what",
    [
        observed(job(status=status(attempt(), conditions=[said("Succeeded")])), ray_job()),
        observed(job(status=status(attempt(), conditions=[said("Failed")])), ray_job()),
    ],
    ids=["success", "failure"],
)
def test_a_running_attempt_is_not_ended_by_a_condition(what: Observed) -> None:
    decision = decide(what, 3600)
    assert decision.actions == ()
    assert condition(decision, ConditionType.RUNNING).status == "True"
    assert get_condition(decision.status, ConditionType.SUCCEEDED) is None
    assert get_condition(decision.status, ConditionType.FAILED) is None


def test_a_suspended_job_is_not_ended_by_a_condition_and_goes_on_when_it_is_resumed() -> None:
    known = status(ended(1, AttemptOutcome.SUSPENDED), conditions=[said("Succeeded")])
    assert decide(observed(job(status=known, runPolicy=SUSPENDED))).status.phase == "Suspended"
    first = decide(observed(job(status=known)))
    assert decide(observed(job(status=first.status))).actions == (CreateAttempt(2),)
