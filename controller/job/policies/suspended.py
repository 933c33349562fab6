"""Policy: a job that the user suspends writes a checkpoint and gives its resources back.

Pure. Test: tests/controller/job/policies/test_suspended.py.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from controller.job.activity import has_reported
from controller.job.failures import ray_job_state
from controller.job.pauses import SOON
from controller.job.queueing import is_held
from controller.job.remains import leftovers
from controller.job.situation import AskToStop, Plan, Situation
from controller.runtime.resources import CONFIG_MAPS
from controller.runtime.rights import rights
from finetune.api import attempts
from finetune.api.attempts import Ending
from finetune.api.conditions import Reason, is_true
from finetune.api.record import Result, Stage
from finetune.api.status import Attempt, AttemptOutcome, ConditionType

RIGHTS = rights(CONFIG_MAPS, "patch")
STOP_PATIENCE = timedelta(minutes=5)
"""For a step, the report that brings the request, and a checkpoint. Whoever suspends wants the machines back."""


def suspended(situation: Situation) -> Situation | Plan:
    """End the attempt of a suspended job, uncharged, and delete its RayJob; its checkpoints stay."""
    if not situation.job.suspended or _has_ended(situation):
        return situation
    attempt, ray_job = situation.attempt, situation.ray_job
    if attempt is not None:
        deadline = _stops_until(situation, attempt)
        if deadline is not None:
            return _stopping(situation, attempt, deadline)
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
    attempt, ray_job, outcome = situation.attempt, situation.ray_job, situation.outcome
    if attempt is not None and attempt.stop_requested_time is not None and outcome is not None and outcome.result is Result.INTERRUPTED:
        return False  # it ended because of the request
    return ray_job_state(ray_job).final if ray_job is not None else outcome is not None


def _stops_until(situation: Situation, attempt: Attempt) -> datetime | None:
    """Return until when the trainer may take to write a checkpoint; None where it is not waited for: it does not train, or hangs."""
    progress, ray_job = situation.status.progress, situation.ray_job
    trains = progress is not None and progress.stage == Stage.TRAINING and has_reported(situation)
    goes = ray_job is None or ray_job.deleting or is_held(ray_job, situation.observed.workload)
    if not trains or goes or is_true(situation.status, ConditionType.STALLED):
        return None
    deadline = (attempt.stop_requested_time or situation.now) + STOP_PATIENCE
    return deadline if situation.now < deadline else None


def _stopping(situation: Situation, attempt: Attempt, deadline: datetime) -> Plan:
    if situation.ray_job is not None:
        # In each pass, which is a write in the first alone: one that failed, or met no object, would otherwise cost all of the patience.
        situation = situation.do(AskToStop(attempt.number, situation.ray_job.cluster))
    situation = situation.with_attempt(stop_requested_time=attempt.stop_requested_time or situation.now)
    message = f"attempt {attempt.number} writes a checkpoint and ends, at the latest at {deadline:%H:%M:%S} UTC"
    return situation.condition(ConditionType.SUSPENDED, "False", Reason.STOPPING, message).wake_at(deadline).ends()
