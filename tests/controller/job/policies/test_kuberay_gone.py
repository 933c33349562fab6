"""KubeRay's definitions vanish under an attempt that runs: it is waited for, and judged when they are back."""

from dataclasses import replace

import pytest

from controller.job.facts import Missing, Observed
from controller.job.situation import CreateAttempt
from finetune.api.conditions import Reason
from finetune.api.status import AttemptOutcome, ConditionType
from tests.controller.job.builders import attempt, job, observed, ray_job, record_text, status
from tests.controller.job.decisions import after, condition, decide, last_attempt

KNOWN = status(attempt(), report_cursor="1/bot-1-x7k2p/2")


def away(**fields: object) -> Observed:
    return replace(observed(job(status=KNOWN), kuberay_installed=False), **fields)  # type: ignore[arg-type]


def test_the_attempt_is_neither_ended_nor_said_to_run_and_the_message_says_what_to_do() -> None:
    decision = decide(away())
    running = condition(decision, ConditionType.RUNNING)
    assert (running.status, running.reason) == ("False", Reason.KUBERAY_MISSING)
    assert "attempt 1: the cluster serves no RayJobs of ray.io/v1" in running.message
    assert "install KubeRay 1.6" in running.message
    assert condition(decision, ConditionType.ACCEPTED).reason == Reason.KUBERAY_MISSING
    assert (last_attempt(decision).outcome, decision.actions, decision.status.phase) == (None, (), "Waiting")


def test_what_else_is_missing_is_not_what_the_attempt_waits_for() -> None:
    decision = decide(away(missing=(Missing("output: there is no claim"),)))
    assert condition(decision, ConditionType.ACCEPTED).reason == Reason.KUBERAY_MISSING


def test_an_attempt_whose_ray_job_is_back_goes_on() -> None:
    decision = decide(observed(job(status=after(decide(away()))), ray_job()))
    assert condition(decision, ConditionType.RUNNING).status == "True"
    assert condition(decision, ConditionType.ACCEPTED).status == "True"
    assert last_attempt(decision).outcome is None


def test_an_attempt_whose_ray_job_went_with_the_definition_is_followed_by_another_and_not_charged() -> None:
    decision = decide(observed(job(status=after(decide(away())), runPolicy={"maxAttempts": 1})))
    ended = last_attempt(decision)
    assert (ended.outcome, ended.reason) == (AttemptOutcome.INTERRUPTED, "KubeRayRemoved")
    assert condition(decision, ConditionType.RUNNING).reason == Reason.RETRYING
    again = decide(observed(job(status=after(decision), runPolicy={"maxAttempts": 1})), seconds=60)
    assert (last_attempt(again).number, last_attempt(again).outcome) == (2, None)
    started = decide(observed(job(status=after(again))), seconds=61)
    assert started.actions == (CreateAttempt(2),)


def test_what_the_trainer_said_last_counts_more_than_that_kuberay_was_away() -> None:
    said = record_text(outcome={"result": "Succeeded", "reason": "Succeeded", "message": "done"}, stage="Finished")
    decision = decide(observed(job(status=after(decide(away()))), record=said))
    assert last_attempt(decision).outcome is AttemptOutcome.SUCCEEDED


@pytest.mark.parametrize("begun", [False, True])
def test_a_job_without_kuberay_is_no_failure_of_a_spec(begun: bool) -> None:
    known = KNOWN if begun else status(attempt(start_time=None))
    assert decide(observed(job(status=known), kuberay_installed=False)).status.phase == "Waiting"
