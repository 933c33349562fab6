"""Policy: an attempt whose RayJob is deleted before it was seen to run has not begun, and waits for the name to be free.

Pure. Test: tests/controller/job/policies/test_going.py.
"""

from controller.job.pauses import PODS_GONE_POLL
from controller.job.remains import leftovers
from controller.job.situation import Plan, Situation
from finetune.api.conditions import Reason
from finetune.api.status import ConditionType


def going(situation: Situation) -> Situation | Plan:
    """Wait until the RayJob is gone that somebody deletes before the attempt has begun; no attempt is charged."""
    attempt, ray_job = situation.attempt, situation.ray_job
    if attempt is None or ray_job is None or not ray_job.deleting or attempt.start_time is not None:
        return situation
    message = f"attempt {attempt.number} starts when the RayJob {ray_job.name}, which is being deleted, is gone"
    waits = situation.condition(ConditionType.RUNNING, "False", Reason.STARTING, message)
    return waits.do(*leftovers(waits)).wake_in(PODS_GONE_POLL).ends()
