"""An attempt starts in two passes, and only when nothing stands in its way."""

import pytest

from controller.job.facts import Missing
from controller.job.situation import CreateAttempt
from finetune.api.conditions import Reason
from finetune.api.status import Attempt, AttemptOutcome, ConditionType
from tests.controller.job.builders import FOLDER, attempt, job, observed, pod, ray_job, status
from tests.controller.job.decisions import after, condition, decide, ended, last_attempt


def test_a_new_attempt_is_written_down_before_anything_of_it_exists() -> None:
    decision = decide(observed(job()))
    assert last_attempt(decision) == Attempt(number=1, ray_job_name="bot-1")
    assert decision.actions == ()
    assert condition(decision, ConditionType.ACCEPTED).status == "True"
    assert decision.status.output is not None
    assert decision.status.output.uri == f"pvc://models/{FOLDER}"
    assert decision.status.phase == "Starting"


def test_an_attempt_that_is_written_down_is_created_in_the_next_pass() -> None:
    first = decide(observed(job()))
    second = decide(observed(job(status=after(first))))
    assert second.actions == (CreateAttempt(1),)
    assert second.status.attempts == first.status.attempts


def test_what_is_missing_is_named_and_waited_for() -> None:
    decision = decide(observed(job(), missing=(Missing("data.train[0].configMap: there is no ConfigMap rows"),)))
    accepted = condition(decision, ConditionType.ACCEPTED)
    assert (accepted.status, accepted.reason) == ("False", Reason.REFERENCE_MISSING)
    assert "ConfigMap rows" in accepted.message
    assert decision.actions == ()
    assert decision.status.attempts is None
    assert decision.requeue_after
    assert decision.status.phase == "Waiting"


@pytest.mark.parametrize(
    ("missing", "minutes", "pause"),
    [
        ([Missing("a ConfigMap")], 0, 5),
        ([Missing("a ConfigMap")], 5, 30),
        ([Missing("a ConfigMap")], 600, 60),
        ([Missing("a claim", watched=True)], 0, None),
        ([Missing("a claim", watched=True), Missing("a ConfigMap")], 0, 5),
    ],
    ids=["at first", "later", "long", "a claim is watched", "both"],
)
def test_what_no_watch_reports_is_checked_less_and_less_often(missing: list[Missing], minutes: int, pause: float | None) -> None:
    first = decide(observed(job(), missing=tuple(missing)))
    again = decide(observed(job(status=first.status), missing=tuple(missing)), 60 * minutes)
    assert again.requeue_after == pause


def test_what_vanished_between_the_two_passes_of_a_start_is_waited_for_too() -> None:
    decision = decide(observed(job(status=status(attempt(start_time=None))), missing=(Missing("output: there is no claim"),)))
    assert decision.actions == ()
    assert condition(decision, ConditionType.ACCEPTED).status == "False"


def test_without_kuberay_a_job_says_so_and_waits() -> None:
    decision = decide(observed(job(), kuberay_installed=False))
    accepted = condition(decision, ConditionType.ACCEPTED)
    assert (accepted.status, accepted.reason) == ("False", Reason.KUBERAY_MISSING)
    assert "install KubeRay" in accepted.message
    assert decision.actions == ()


def test_when_kuberay_vanishes_under_a_running_job_no_attempt_is_charged() -> None:
    decision = decide(observed(job(status=status(attempt())), kuberay_installed=False))
    assert last_attempt(decision).outcome is None
    assert condition(decision, ConditionType.ACCEPTED).reason == Reason.KUBERAY_MISSING


def test_a_failed_attempt_is_followed_by_another_once_its_pods_are_gone() -> None:
    failed = ray_job(1, "FAILED", "Failed", reason="AppFailed", message="Job entrypoint command failed with exit code 1")
    first = decide(observed(job(status=status(attempt())), failed, pods=[pod(role="head"), pod()]))
    assert last_attempt(first).outcome is AttemptOutcome.FAILED
    assert condition(first, ConditionType.RUNNING).reason == Reason.RETRYING
    assert first.status.phase == "Retrying"

    second = decide(observed(job(status=after(first)), failed, pods=[pod(role="head")]))
    assert last_attempt(second).number == 1
    assert "the next attempt waits for 1 pod of attempt 1 to stop" in condition(second, ConditionType.RUNNING).message
    assert second.requeue_after

    early = decide(observed(job(status=after(second)), failed), 3)
    assert last_attempt(early).number == 1
    assert early.requeue_after == 8  # 10 s and this job's share of the spread
    assert "12:00:11" in condition(early, ConditionType.RUNNING).message
    assert early.status.phase == "Retrying"

    third = decide(observed(job(status=after(second)), failed, pods=[pod(role="submitter")]), 11)
    assert last_attempt(third) == Attempt(number=2, ray_job_name="bot-2")
    fourth = decide(observed(job(status=after(third)), failed))
    assert fourth.actions == (CreateAttempt(2),)


def test_lowering_max_attempts_below_what_has_failed_fails_a_job_that_waits_to_retry() -> None:
    known = status(ended(1, AttemptOutcome.FAILED), ended(2, AttemptOutcome.FAILED))
    decision = decide(observed(job(runPolicy={"maxAttempts": 1}, status=known)))
    assert condition(decision, ConditionType.FAILED).reason == Reason.ATTEMPTS_EXHAUSTED


def test_pods_of_the_attempts_own_deleted_ray_job_are_not_blamed_on_another_attempt() -> None:
    decision = decide(observed(job(status=status(attempt(start_time=None))), pods=[pod(role="head")]))
    assert decision.actions == ()
    message = condition(decision, ConditionType.RUNNING).message
    assert "attempt 1 waits for 1 pod of an earlier RayJob of the same attempt to stop" in message
