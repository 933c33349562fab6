"""A RayJob that lacks what safety depends on is not left running, decision by decision.

What a reconciler makes of it: tests/controller/job/test_unsafe_ray_jobs.py.
"""

from finetune.api.conditions import Reason
from finetune.api.status import AttemptOutcome, ConditionType
from tests.controller.job.builders import attempt, job, observed, ray_job, status
from tests.controller.job.decisions import after, condition, decide, deletion, ended, last_attempt

UNSAFE = {"unsafe": ("spec.rayClusterSpec.authOptions",)}


def test_before_its_attempt_was_seen_to_run_it_is_deleted_and_no_attempt_ends() -> None:
    decision = decide(observed(job(status=status(attempt(start_time=None))), ray_job(1, "", "Initializing", **UNSAFE)))
    assert (decision.actions, decision.requeue_after) == ((deletion(1),), 10)
    assert last_attempt(decision).outcome is None
    assert condition(decision, ConditionType.RUNNING).reason == Reason.KUBERAY_UNSAFE
    assert "does not keep spec.rayClusterSpec.authOptions" in condition(decision, ConditionType.RUNNING).message


def test_an_attempt_that_was_seen_to_run_ends_uncharged_before_its_ray_job_is_deleted() -> None:
    first = decide(observed(job(status=status(attempt())), ray_job(**UNSAFE)))
    assert (first.actions, first.requeue_after) == ((), 1)
    assert (last_attempt(first).outcome, last_attempt(first).reason) == (AttemptOutcome.INTERRUPTED, Reason.KUBERAY_UNSAFE)
    second = decide(observed(job(status=after(first)), ray_job(**UNSAFE)))
    assert second.actions == (deletion(1),)


def test_it_is_deleted_although_a_safe_one_runs_and_nothing_else_is_decided_in_this_pass() -> None:
    known = status(ended(1, AttemptOutcome.FAILED), attempt(2))
    decision = decide(observed(job(status=known), ray_job(1, **UNSAFE), ray_job(2)))
    assert decision.actions == (deletion(1),)
    assert last_attempt(decision).outcome is None


def test_one_that_is_being_deleted_already_is_waited_for() -> None:
    decision = decide(observed(job(status=status(attempt(start_time=None))), ray_job(deleting=True, **UNSAFE)))
    assert (decision.actions, decision.requeue_after) == ((), 10)
    assert condition(decision, ConditionType.RUNNING).reason == Reason.KUBERAY_UNSAFE


def test_one_that_has_ended_harms_nobody_any_more() -> None:
    decision = decide(observed(job(status=status(attempt())), ray_job(1, "SUCCEEDED", "Complete", **UNSAFE)))
    assert decision.status.phase == "Succeeded"
