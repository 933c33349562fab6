"""Policy: what is said of an attempt that a queue holds back or has admitted. Always passes on.

An evicted attempt has not ended: it goes on in another Ray cluster of the same RayJob. Pure.
Test: tests/controller/job/policies/test_queued.py.
"""

from dataclasses import replace

from controller.job.queueing import PATIENCE, hold_of, is_held, patience_is_over
from controller.job.situation import Situation
from finetune.api import attempts
from finetune.api.conditions import Reason, get_condition
from finetune.api.status import ConditionType


def queued(situation: Situation) -> Situation:
    """Mirror why Kueue holds the attempt back, and forget what was true in the Ray cluster that is gone."""
    attempt, ray_job, workload = situation.attempt, situation.ray_job, situation.observed.workload
    if attempt is None or ray_job is None:
        return situation
    if not is_held(ray_job, workload):
        if not ray_job.queue and workload is None and get_condition(situation.status, ConditionType.QUEUED) is None:
            return situation
        by = f" by the ClusterQueue {workload.cluster_queue}" if workload is not None and workload.cluster_queue else ""
        message = f"attempt {attempt.number} was admitted{by}"
        return situation.condition(ConditionType.QUEUED, "False", Reason.ADMITTED, message)
    situation = replace(situation, status=attempts.rested(situation.status)).with_attempt(node=None, failed_pod=None)
    hold = hold_of(situation)
    if hold is None:
        return situation
    if not patience_is_over(situation) and workload is None:
        situation = situation.wake_at(ray_job.created + PATIENCE)
    return situation.condition(ConditionType.QUEUED, "True" if hold.in_queue else "False", hold.reason, hold.message)
