"""Why an attempt does not run yet: the pod whose problem explains most, or what KubeRay says.

Pure. Test: tests/controller/job/test_trouble.py.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from controller.job.facts import CONFIG_ERROR, PodFacts, RayJobFacts
from controller.job.failures import RayJobState, ray_job_state
from controller.job.kuberay import PATIENCE, left_alone, waits_for_kuberay
from controller.job.names import ROLE_HEAD, ROLE_SUBMITTER, ROLE_WORKER
from finetune.api.status import Attempt

ROLE_RANK = {ROLE_HEAD: 0, ROLE_WORKER: 1, ROLE_SUBMITTER: 2}
"""Whose problem explains most: nothing runs without a head, and the submitter comes last."""
UNSCHEDULABLE = "Unschedulable"
PREPARING_PATIENCE = timedelta(minutes=2)
"""Most claims are made, volumes attached and images pulled within that time; longer is worth a look, and may never end."""


def trouble_of(pods: Sequence[PodFacts]) -> PodFacts | None:
    """Return the pod whose problem explains most: first one that the user must fix, then by role."""
    waiting = [pod for pod in pods if pod.waiting_reason]
    # A head may have to follow the workers: if those cannot be scheduled, that is the cause and the head's message its effect.
    follows = any(pod.role == ROLE_WORKER and pod.waiting_reason == UNSCHEDULABLE for pod in waiting)
    heads_effect = {pod.name for pod in waiting if follows and pod.role == ROLE_HEAD and pod.waiting_reason == UNSCHEDULABLE}
    return min(waiting, key=lambda pod: (pod.waiting_reason != CONFIG_ERROR, pod.name in heads_effect, *_rank(pod)), default=None)


def patience_ends(pods: Sequence[PodFacts], now: datetime) -> datetime | None:
    """Return when the next pod will have waited too long for its claim, its volumes or its image, None if none waits for them."""
    ends = (since + PREPARING_PATIENCE for since in map(_silent_since, pods) if since is not None)
    return min((end for end in ends if end > now), default=None)


def kuberay_patience_ends(ray_job: RayJobFacts, pods: Sequence[PodFacts], since: datetime, now: datetime) -> datetime | None:
    """Return when KubeRay will have left the attempt alone for too long, None if it has begun with it, or that is said already."""
    return since + PATIENCE if waits_for_kuberay(ray_job, pods) and since + PATIENCE > now else None


def why_not_running(attempt: Attempt, ray_job: RayJobFacts, pods: Sequence[PodFacts], since: datetime, now: datetime) -> str:
    """Return the message that says what an attempt waits for; `since` is when it began to wait for KubeRay."""
    trouble = trouble_of(pods)
    slow = [pod for pod in pods if now - (_silent_since(pod) or now) >= PREPARING_PATIENCE]
    if slow and (trouble is None or _follows_unclaimed(trouble, slow)):
        pod = min(slow, key=lambda pod: (pod.unclaimed_since is None, *_rank(pod)))
        what = "volumes or its image" if pod.unclaimed_since is None else "ResourceClaim"
        return (
            f"attempt {attempt.number}: pod {pod.name} has been waiting for its {what} since "
            f"{_silent_since(pod):%H:%M:%S} UTC; see `kubectl describe pod {pod.name}`"
        )
    if trouble is not None:
        return f"attempt {attempt.number}: pod {trouble.name} waits: {trouble.waiting_reason}: {trouble.waiting_message}".rstrip(": ")
    state = ray_job_state(ray_job)
    if state is RayJobState.UNKNOWN:
        words = f"jobDeploymentStatus {ray_job.deployment_status!r}, jobStatus {ray_job.job_status!r}"
        return f"attempt {attempt.number}: KubeRay reports {words}, which this version does not know; waiting for a state that it knows"
    if state is RayJobState.SUSPENDED:
        return f"attempt {attempt.number}: the RayJob {ray_job.name} was suspended by somebody else, perhaps a queue"
    alone = left_alone(ray_job, pods, since, now)
    if ray_job.cluster_trouble or alone:
        return f"attempt {attempt.number}: {ray_job.cluster_trouble or alone}"
    if ray_job.deployment_status == "Running":
        return f"attempt {attempt.number}: the Ray cluster is up, the trainer is starting"
    return f"attempt {attempt.number}: KubeRay is starting the Ray cluster"


def _silent_since(pod: PodFacts) -> datetime | None:
    """Return since when a pod waits for what Kubernetes gives it in moments, and tells in events alone if it cannot."""
    return pod.unclaimed_since or pod.preparing_since


def _follows_unclaimed(trouble: PodFacts, slow: Sequence[PodFacts]) -> bool:
    """Return whether a head finds no node because it follows workers that the scheduler leaves aside."""
    unclaimed = any(pod.unclaimed_since is not None for pod in slow)
    return unclaimed and trouble.role == ROLE_HEAD and trouble.waiting_reason == UNSCHEDULABLE


def _rank(pod: PodFacts) -> tuple[int, str]:
    return ROLE_RANK.get(pod.role, len(ROLE_RANK)), pod.name
