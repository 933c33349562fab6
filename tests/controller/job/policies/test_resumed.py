"""Resuming a job, decision by decision."""

import pytest

from controller.job.facts import Missing, Observed
from finetune.api.conditions import Reason
from finetune.api.status import AttemptOutcome, ConditionType
from tests.controller.job.builders import attempt, job, observed, pod, ray_job, status
from tests.controller.job.decisions import SUSPENDED, after, condition, decide, deletion, ended, last_attempt


def test_resuming_before_the_ray_job_was_deleted_deletes_it_and_waits() -> None:
    first = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt())), ray_job()))
    resumed = decide(observed(job(status=after(first)), ray_job()))
    assert resumed.actions == (deletion(1),)
    assert len(resumed.status.attempts or []) == 1
    assert condition(resumed, ConditionType.RUNNING).reason == Reason.WAITING_FOR_PODS


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
def test_a_resumed_job_that_has_to_wait_is_not_called_suspended(waits: Observed, phase: str) -> None:
    decision = decide(waits)
    assert condition(decision, ConditionType.SUSPENDED).status == "False"
    assert decision.status.phase == phase
