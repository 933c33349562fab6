"""A RayJob that somebody deletes before it was seen to run costs no attempt.

What a reconciler makes of it: tests/controller/job/test_fencing.py.
"""

from finetune.api.conditions import Reason
from finetune.api.status import AttemptOutcome, ConditionType
from tests.controller.job.builders import attempt, job, observed, ray_job, status
from tests.controller.job.decisions import condition, decide, deletion, ended, last_attempt


def test_the_attempt_waits_for_the_name_to_be_free() -> None:
    decision = decide(observed(job(status=status(attempt(start_time=None))), ray_job(1, "", "Initializing", deleting=True)))
    assert (decision.actions, decision.requeue_after) == ((), 10)
    assert (last_attempt(decision).start_time, last_attempt(decision).outcome) == (None, None)
    running = condition(decision, ConditionType.RUNNING)
    assert (running.status, running.reason) == ("False", Reason.STARTING)
    assert "attempt 1 starts when the RayJob bot-1, which is being deleted, is gone" in running.message


def test_what_is_left_of_an_earlier_attempt_is_deleted_meanwhile() -> None:
    known = status(ended(1, AttemptOutcome.FAILED), attempt(2, start_time=None))
    decision = decide(observed(job(status=known), ray_job(1), ray_job(2, "", "Initializing", deleting=True)))
    assert decision.actions == (deletion(1),)


def test_an_attempt_that_was_seen_to_run_goes_on_until_its_ray_job_is_gone() -> None:
    decision = decide(observed(job(status=status(attempt())), ray_job(deleting=True)))
    assert condition(decision, ConditionType.RUNNING).status == "True"
