"""Policy: a job that has run for as long as it may fails.

Pure. Test: tests/controller/job/policies/test_overdue.py.
"""

from datetime import timedelta

from controller.job.activity import active_time, running_since
from controller.job.changes import give_up
from controller.job.situation import Plan, Situation
from finetune.api.conditions import Reason, age


def overdue(situation: Situation) -> Situation | Plan:
    """Fail the job once its attempts have run for runPolicy.activeDeadlineSeconds in all; wake when they will have."""
    seconds = situation.job.run_policy.active_deadline_seconds
    if seconds is None:
        return situation
    left = timedelta(seconds=seconds) - active_time(situation.status, situation.now)
    if left > timedelta(0):
        return situation if running_since(situation.status) is None else situation.wake_at(situation.now + left)
    message = (
        f"the job has run for {age(seconds)}, all that runPolicy.activeDeadlineSeconds allows; its checkpoints and what it has "
        "written stay in the output"
    )
    return give_up(situation, Reason.DEADLINE_EXCEEDED, message).ends()
