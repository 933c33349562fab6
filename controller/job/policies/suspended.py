"""Policy: a job that the user suspends gives its resources back.

Pure. Test: tests/controller/job/policies/test_suspended.py.
"""

from dataclasses import replace

from controller.job.failures import ray_job_state
from controller.job.pauses import SOON
from controller.job.remains import leftovers
from controller.job.situation import Plan, Situation
from finetune.api import attempts
from finetune.api.attempts import Ending
from finetune.api.conditions import Reason
from finetune.api.status import AttemptOutcome, ConditionType


def suspended(situation: Situation) -> Situation | Plan:
    """End the attempt of a suspended job, uncharged, and delete its RayJob; its checkpoints stay."""
    if not situation.job.suspended or _has_ended(situation):
        return situation
    attempt, ray_job = situation.attempt, situation.ray_job
    if attempt is not None:
        if ray_job is not None:
            situation = situation.with_attempt(start_time=ray_job.created)
        ending = Ending(AttemptOutcome.SUSPENDED, Reason.SUSPENDED, "the job was suspended")
        situation = replace(situation, status=attempts.end(situation.status, ending, situation.now))
    pods = sum(pod.trains for pod in situation.observed.pods)
    message = "no pods run; set runPolicy.suspend to false to resume from the last checkpoint"
    if pods:
        message = f"waiting for {pods} pod{'s' if pods > 1 else ''} to stop"
    situation = situation.condition(ConditionType.SUSPENDED, "True", Reason.SUSPENDED, message)
    situation = situation.condition(ConditionType.RUNNING, "False", Reason.SUSPENDED, "the job is suspended")
    if attempt is not None:
        # Written first: a RayJob that goes while its attempt counts as running would be charged as deleted by somebody else.
        return situation.wake_in(SOON).ends()
    return situation.do(*leftovers(situation)).ends()


def _has_ended(situation: Situation) -> bool:
    """Return whether the attempt ended before the request to suspend reached it."""
    ray_job = situation.ray_job
    return ray_job_state(ray_job).final if ray_job is not None else situation.outcome is not None
