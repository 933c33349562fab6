"""A job that has ended goes when its time to live is over, and not before."""

from datetime import timedelta
from typing import Any

import pytest

from controller.job.situation import Delete, ReleaseProgress
from controller.kinds import FINE_TUNE_JOBS
from finetune.api.status import AttemptOutcome, FineTuneJobStatus
from tests.controller.job.builders import NOW, UID, attempt, job, observed, ray_job, status
from tests.controller.job.decisions import decide, ended

DELETION = Delete(FINE_TUNE_JOBS, "bot", UID)


def over(**fields: Any) -> FineTuneJobStatus:
    """What a job looks like after the pass in which it failed."""
    known = status(ended(1, AttemptOutcome.FAILED).model_copy(update={"job_reason": "AttemptsExhausted"}))
    return decide(observed(job(status=known))).status


@pytest.mark.parametrize(
    ("seconds", "passed", "actions", "again"),
    [(60, 59, (), 1), (60, 60, (DELETION,), None), (0, 0, (DELETION,), None), (None, 10**6, (), None)],
    ids=["a second before", "due", "at once", "never"],
)
def test_the_job_is_deleted_when_its_time_is_over(seconds: int | None, passed: int, actions: Any, again: float | None) -> None:
    policy = {} if seconds is None else {"ttlSecondsAfterFinished": seconds}
    decision = decide(observed(job(runPolicy=policy, status=over())), passed)
    assert (decision.actions, decision.requeue_after) == (actions, again)


def test_a_job_that_another_one_has_yet_to_find_stays() -> None:
    policy = {"ttlSecondsAfterFinished": 60}
    decision = decide(observed(job(runPolicy=policy, status=over()), needed_by=("second",)), 10**6)
    assert (decision.actions, decision.requeue_after) == ((), None)
    early = decide(observed(job(runPolicy=policy, status=over()), needed_by=("second",)), 59)
    assert early.requeue_after == 1


def test_a_job_that_goes_on_is_never_deleted() -> None:
    decision = decide(observed(job(runPolicy={"ttlSecondsAfterFinished": 0}, status=status(attempt())), ray_job()), 10**6)
    assert DELETION not in decision.actions


def test_nothing_of_the_job_holds_up_what_goes_with_it() -> None:
    name = "bot-1-progress-0123abcd"
    decision = decide(observed(job(runPolicy={"ttlSecondsAfterFinished": 0}, status=over()), held=((name, "uid"),)))
    assert decision.actions == (ReleaseProgress(name, 1, "uid"), DELETION)


def test_the_time_runs_from_the_end_that_the_condition_names() -> None:
    later = decide(observed(job(runPolicy={"ttlSecondsAfterFinished": 600}, status=over())), 300)
    assert later.requeue_after == 300
    assert later.due_within == timedelta(seconds=300).total_seconds()
    assert later.status.conditions is not None
    assert {each.last_transition_time for each in later.status.conditions if each.type == "Failed"} == {NOW}
