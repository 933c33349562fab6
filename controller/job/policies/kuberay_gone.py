"""Policy: an attempt that has begun, and whose RayJob cannot be seen because the cluster serves no RayJobs any more, waits for them.

They may come back with it: a definition may be off for a moment of an upgrade. Pure.
Test: tests/controller/job/policies/test_kuberay_gone.py.
"""

from controller.job.changes import refuse
from controller.job.kuberay import NOT_SERVED
from controller.job.pauses import UNWATCHED_POLL
from controller.job.situation import Plan, Situation
from finetune.api.conditions import Reason
from finetune.api.status import ConditionType


def kuberay_gone(situation: Situation) -> Situation | Plan:
    """Say that nobody knows what becomes of the attempt, and wait; whether it ended is decided once RayJobs are served again."""
    attempt = situation.attempt
    if situation.observed.kuberay_installed or attempt is None or attempt.start_time is None:
        return situation
    message = (
        f"attempt {attempt.number}: {NOT_SERVED}. Once they are served again the attempt goes on; if its RayJob is gone with them, another "
        "one resumes from the last checkpoint, and this one is not charged"
    )
    if situation.observed.kuberay_leaving:
        situation = situation.wake_in(UNWATCHED_POLL)  # the caches hear no more of it before the definition is gone
    situation = situation.condition(ConditionType.RUNNING, "False", Reason.KUBERAY_MISSING, message)
    return refuse(situation, Reason.KUBERAY_MISSING, f"{NOT_SERVED}; the job then goes on by itself").ends()
