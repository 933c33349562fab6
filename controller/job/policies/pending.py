"""Policy: a job that waits for longer than it may fails, and says what it waited for.

Pure. Test: tests/controller/job/policies/test_pending.py.
"""

from datetime import timedelta

from controller.job.activity import still_waits, what_is_waited_for
from controller.job.changes import give_up
from controller.job.situation import Plan, Situation
from finetune.api.conditions import Reason


def pending(situation: Situation) -> Situation | Plan:
    """Fail the job once an attempt has waited for runPolicy.pendingDeadlineSeconds; wake when it will have."""
    seconds, since = situation.job.run_policy.pending_deadline_seconds, situation.status.waiting_since
    if seconds is None or since is None or not still_waits(situation):
        return situation
    ends = since + timedelta(seconds=seconds)
    if ends > situation.now:
        return situation.wake_at(ends)
    message = (
        f"nothing was reported within {seconds} s, all that runPolicy.pendingDeadlineSeconds allows, since {since:%Y-%m-%d %H:%M:%S} UTC; "
        f"waited for: {what_is_waited_for(situation.status)}"
    )
    return give_up(situation, Reason.PENDING_DEADLINE_EXCEEDED, message).ends()
