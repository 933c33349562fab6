"""Condition changes that several policies make."""

from datetime import timedelta

import pytest

from controller.job.changes import accept, exhaust, finish, over, refuse, resume
from controller.job.situation import Situation
from finetune.api.conditions import Reason
from finetune.api.status import AttemptOutcome, ConditionType
from tests.controller.job.builders import NOW, attempt, job, observed, status
from tests.controller.job.decisions import condition, ended

LATER = NOW + timedelta(minutes=5)


def situation(*attempts: object, **fields: object) -> Situation:
    known = status(*attempts, **fields)  # type: ignore[arg-type]
    return Situation(observed(job(status=known)), known, LATER)


def test_a_job_is_accepted_or_refused_with_a_reason() -> None:
    assert condition(accept(situation()).status, ConditionType.ACCEPTED).status == "True"
    refused = condition(refuse(situation(), Reason.SPEC_INVALID, "spec.task: unknown").status, ConditionType.ACCEPTED)
    assert (refused.status, refused.reason, refused.message) == ("False", "SpecInvalid", "spec.task: unknown")


def test_a_job_that_is_seen_again_and_refused_no_longer_says_that_it_cannot_be_seen() -> None:
    unseen = situation().condition(ConditionType.RUNNING, "False", Reason.OBSERVATION_FAILED, "the controller cannot read")
    after = refuse(unseen, Reason.REFERENCE_MISSING, "there is no claim data").status
    assert [condition(after, each).reason for each in (ConditionType.RUNNING, ConditionType.ACCEPTED)] == ["ReferenceMissing"] * 2
    waits = situation().condition(ConditionType.RUNNING, "False", Reason.RETRYING, "the next attempt starts at noon")
    assert condition(refuse(waits, Reason.REFERENCE_MISSING, "words").status, ConditionType.RUNNING).reason == Reason.RETRYING


def test_only_a_job_that_was_suspended_is_said_to_resume() -> None:
    assert resume(situation()) == situation()
    suspended = situation().condition(ConditionType.SUSPENDED, "True", Reason.SUSPENDED, "words")
    found = condition(resume(suspended).status, ConditionType.SUSPENDED)
    assert (found.status, found.reason) == ("False", "Resumed")


@pytest.mark.parametrize("kind", [ConditionType.SUCCEEDED, ConditionType.FAILED], ids=str)
def test_the_end_is_in_the_conditions_and_in_the_attempt_that_ended_the_job(kind: ConditionType) -> None:
    after = finish(situation(attempt(1, outcome=AttemptOutcome.FAILED)), kind, "DeadlineExceeded", "too late").status
    other = ConditionType.FAILED if kind is ConditionType.SUCCEEDED else ConditionType.SUCCEEDED
    assert [condition(after, each).status for each in (kind, other)] == ["True", "False"]
    assert condition(after, ConditionType.RUNNING).reason == Reason.FINISHED
    assert (after.attempts or [])[-1].job_reason == "DeadlineExceeded"


def test_a_job_whose_attempts_all_failed_names_the_last_cause() -> None:
    attempts = [ended(1, AttemptOutcome.FAILED), ended(2, AttemptOutcome.FAILED, "OutOfMemory")]
    failed = condition(exhaust(situation(*attempts), attempts[-1]).status, ConditionType.FAILED)
    assert failed.reason == Reason.ATTEMPTS_EXHAUSTED
    assert "2 attempts failed" in failed.message
    assert "OutOfMemory" in failed.message


def test_nothing_runs_of_a_job_that_is_over() -> None:
    found = condition(over(situation(attempt(1))).status, ConditionType.RUNNING)
    assert (found.status, found.reason) == ("False", "Finished")
