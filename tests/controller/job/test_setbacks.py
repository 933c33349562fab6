"""What the conditions say of an action that failed and of a job that could not be observed."""

from typing import Any

import pytest

from controller.job.setbacks import after_failure, unobserved
from controller.job.situation import Action, CreateAttempt, Delete, ReleaseProgress, RestoreSupports
from controller.kinds import RAY_JOBS
from controller.runtime.errors import Conflict, Forbidden, KubeError, ServerError
from finetune.api.conditions import Reason, set_condition
from finetune.api.status import AttemptOutcome, Condition, ConditionType, FineTuneJobStatus
from tests.controller.job.builders import NOW, attempt, job, status
from tests.controller.job.decisions import condition

NO = Forbidden("a policy says no")
RAY_JOB = Delete(RAY_JOBS, "bot-1", "uid")


def said(value: str, reason: str, words: str = "as it was", kind: ConditionType = ConditionType.RUNNING) -> FineTuneJobStatus:
    """A status with one condition."""
    return set_condition(FineTuneJobStatus(), kind, value, reason, words, generation=1, now=NOW)  # type: ignore[arg-type]


def in_short(of: Condition) -> tuple[str, str]:
    return of.status, of.reason


@pytest.mark.parametrize(
    ("before", "action", "kind", "after"),
    [
        (said("False", "Starting"), CreateAttempt(1), ConditionType.RUNNING, ("False", "CreationFailed")),
        (said("True", "TrainerRunning"), RAY_JOB, ConditionType.RUNNING, ("True", "DeletionFailed")),
        (said("False", "Suspended"), RAY_JOB, ConditionType.RUNNING, ("False", "DeletionFailed")),
        (said("False", "KubeRayUnsafe"), RAY_JOB, ConditionType.RUNNING, ("False", "KubeRayUnsafe")),
        (FineTuneJobStatus(), RAY_JOB, ConditionType.RUNNING, ("False", "DeletionFailed")),
        (said("True", "TrainerRunning"), ReleaseProgress("p", 1, "uid"), ConditionType.REPORTING, ("False", "CreationFailed")),
        (said("True", "TrainerRunning"), RestoreSupports(1, ()), ConditionType.REPORTING, ("False", "CreationFailed")),
    ],
    ids=["creation", "while another runs", "while it rests", "unsafe", "nothing known", "release", "restore"],
)
def test_an_action_that_is_refused_is_reported_where_it_belongs(
    before: FineTuneJobStatus, action: Action, kind: ConditionType, after: tuple[str, str]
) -> None:
    found = condition(after_failure(job(), before, action, NO, NOW), kind)
    assert in_short(found) == after
    assert "a policy says no" in found.message


@pytest.mark.parametrize("error", [Conflict("changed"), ServerError("500")], ids=str)
@pytest.mark.parametrize("action", [CreateAttempt(1), RAY_JOB, RestoreSupports(1, ())], ids=lambda action: type(action).__name__)
def test_what_a_retry_alone_fixes_is_not_reported(action: Action, error: KubeError) -> None:
    before = said("True", "TrainerRunning")
    assert after_failure(job(), before, action, error, NOW) == before


@pytest.mark.parametrize(
    ("fields", "reported"),
    [
        ({}, True),
        ({"deleting": True}, False),
        ({"status": status(attempt(1, outcome=AttemptOutcome.SUCCEEDED))}, False),
        ({"status": status(attempt(1))}, True),
    ],
    ids=["new", "being deleted", "ended", "it may run"],
)
def test_only_a_job_that_still_has_something_ahead_reports_that_it_cannot_be_observed(fields: dict[str, Any], reported: bool) -> None:
    of = job(**fields)
    after = unobserved(of, NO, NOW)
    assert (after != of.status) is reported
    if reported:
        assert in_short(condition(after, ConditionType.RUNNING)) == ("False", Reason.OBSERVATION_FAILED)
