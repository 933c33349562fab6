"""Policy: a RayJob that lacks what safety depends on is not left running.

Pure. Test: tests/controller/job/policies/test_unsafe.py.
"""

from dataclasses import replace

from controller.job.failures import ray_job_state
from controller.job.objects import safety
from controller.job.pauses import PODS_GONE_POLL, SOON
from controller.job.remains import deletion_of, leftovers
from controller.job.situation import Plan, Situation
from finetune.api import attempts
from finetune.api.attempts import Ending
from finetune.api.conditions import Reason
from finetune.api.status import AttemptOutcome, ConditionType


def unsafe(situation: Situation) -> Situation | Plan:
    """Delete RayJobs that lack what safety depends on, in every pass until they are gone.

    One may exist although its creation was refused: the answer was lost, its deletion failed, or somebody changed it since.
    """
    there = [ray_job for ray_job in situation.observed.ray_jobs if ray_job.unsafe and not ray_job_state(ray_job).final]
    if not there:
        return situation
    words = safety.words(list(there[-1].unsafe))
    attempt, ray_job = situation.attempt, situation.ray_job
    seen_to_run = attempt is not None and attempt.start_time is not None and ray_job in there
    if seen_to_run:
        # That it ends, and without a charge, is written before its RayJob goes.
        ending = Ending(AttemptOutcome.INTERRUPTED, Reason.KUBERAY_UNSAFE, words)
        situation = replace(situation, status=attempts.end(situation.status, ending, situation.now))
    situation = situation.condition(ConditionType.RUNNING, "False", Reason.KUBERAY_UNSAFE, words)
    if seen_to_run:
        return situation.wake_in(SOON).ends()
    deletions = [deletion_of(each) for each in there if not each.deleting]
    return situation.do(*deletions, *leftovers(situation)).wake_in(PODS_GONE_POLL).ends()
