"""Policy: what is said of an attempt that runs or is about to.

Pure. Test: tests/controller/job/policies/test_running.py.
"""

from datetime import datetime

from controller.job.changes import accept, refuse
from controller.job.facts import CONFIG_ERROR, PodFacts, RayJobFacts
from controller.job.failures import RayJobState, ray_job_state
from controller.job.names import DASHBOARD_PORT, head_service, token_secret
from controller.job.pauses import UNWATCHED_POLL
from controller.job.queueing import hold_of, is_held
from controller.job.remains import leftovers
from controller.job.situation import Plan, Situation
from controller.job.trouble import kuberay_patience_ends, patience_ends, trouble_of, why_not_running
from controller.job.upkeep import report_supports, restores
from finetune.api.conditions import Reason
from finetune.api.status import Attempt, ConditionType, Dashboard


def running(situation: Situation) -> Situation | Plan:
    """Report on the attempt that has a RayJob, and keep what it reports with in place."""
    attempt, ray_job = situation.attempt, situation.ray_job
    if attempt is None or ray_job is None:
        return situation
    situation = situation.with_attempt(start_time=ray_job.created)
    if ray_job.cluster and not is_held(ray_job, situation.observed.workload):
        service, secret = head_service(ray_job.cluster), token_secret(ray_job.cluster)
        situation = situation.with_status(dashboard=Dashboard(service=service, port=DASHBOARD_PORT, token_secret=secret))
    pods = situation.observed.pods_of(attempt)
    situation = _say_whether_it_runs(_say_whether_pods_can_start(situation, pods), attempt, ray_job, pods)
    situation = report_supports(situation)
    since = _waits_since(situation, ray_job)
    for patience in (patience_ends(pods, situation.now), kuberay_patience_ends(ray_job, pods, since, situation.now)):
        if patience is not None:
            situation = situation.wake_at(patience)
    supports = situation.observed.supports
    if situation.observed.unwatched or supports.foreign or not supports.watched:
        situation = situation.wake_in(UNWATCHED_POLL)
    # An attempt before this one must not write beside it, whoever made its RayJob, and however late.
    return situation.do(*leftovers(situation), *restores(situation, attempt.number)).ends()


def _waits_since(situation: Situation, ray_job: RayJobFacts) -> datetime:
    """Return since when KubeRay may begin with the attempt: a queue may have held its RayJob for long, or released it again."""
    return max(ray_job.created, situation.status.waiting_since or situation.now)


def _say_whether_pods_can_start(situation: Situation, pods: list[PodFacts]) -> Situation:
    trouble = trouble_of(pods)
    if trouble is None or trouble.waiting_reason != CONFIG_ERROR:
        return accept(situation)
    reason = Reason.SECRET_MISSING if "secret" in trouble.waiting_message.lower() else Reason.REFERENCE_MISSING
    message = f"pod {trouble.name} cannot start: {trouble.waiting_message}; create it and the pod starts by itself"
    return refuse(situation, reason, message)


def _say_whether_it_runs(situation: Situation, attempt: Attempt, ray_job: RayJobFacts, pods: list[PodFacts]) -> Situation:
    hold = hold_of(situation)
    if hold is not None:
        reason = Reason.QUEUED if hold.in_queue else hold.reason
        return situation.condition(ConditionType.RUNNING, "False", reason, hold.message)
    if ray_job_state(ray_job) is RayJobState.RUNNING:
        message = f"attempt {attempt.number} runs in the Ray cluster {ray_job.cluster}"
        return situation.condition(ConditionType.RUNNING, "True", Reason.RUNNING, message)
    suspended = ray_job_state(ray_job) is RayJobState.SUSPENDED
    if suspended and not is_held(ray_job, situation.observed.workload):
        message = f"attempt {attempt.number}: Kueue has admitted it, KubeRay is about to start the Ray cluster"
        return situation.condition(ConditionType.RUNNING, "False", Reason.STARTING, message)
    message = why_not_running(attempt, ray_job, pods, _waits_since(situation, ray_job), situation.now)
    reason = Reason.QUEUED if suspended else Reason.STARTING
    return situation.condition(ConditionType.RUNNING, "False", reason, message)
