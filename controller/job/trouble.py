"""Why an attempt does not run yet: of its pods, the one whose trouble explains most, or what KubeRay says.

Pure. Test: tests/controller/job/test_trouble.py.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from controller.job.facts import CONFIG_ERROR, PodFacts, RayJobFacts
from controller.job.failures import RayJobState, ray_job_state
from controller.job.names import ROLE_HEAD, ROLE_SUBMITTER, ROLE_WORKER
from finetune.api.status import Attempt

ROLE_RANK = {ROLE_HEAD: 0, ROLE_WORKER: 1, ROLE_SUBMITTER: 2}
"""Whose trouble explains most: nothing runs without a head, and the submitter comes last of all."""
UNSCHEDULABLE = "Unschedulable"
PREPARING_PATIENCE = timedelta(minutes=2)
"""Volumes are attached and images pulled within that time, mostly; longer is worth a look, and may be for ever."""


def trouble_of(pods: Sequence[PodFacts]) -> PodFacts | None:
    """Return the pod whose trouble explains most: one that the user must help, then by role."""
    waiting = [pod for pod in pods if pod.waiting_reason]
    # A head may have to follow the workers: what keeps those from a node is the cause, and the head's words only its effect.
    follows = any(pod.role == ROLE_WORKER and pod.waiting_reason == UNSCHEDULABLE for pod in waiting)
    heads_effect = {pod.name for pod in waiting if follows and pod.role == ROLE_HEAD and pod.waiting_reason == UNSCHEDULABLE}
    return min(waiting, key=lambda pod: (pod.waiting_reason != CONFIG_ERROR, pod.name in heads_effect, *_rank(pod)), default=None)


def patience_ends(pods: Sequence[PodFacts], now: datetime) -> datetime | None:
    """Return when the next pod will have waited too long for its volumes or its image, None if none waits for them."""
    ends = (pod.preparing_since + PREPARING_PATIENCE for pod in pods if pod.preparing_since is not None)
    return min((end for end in ends if end > now), default=None)


def why_not_running(attempt: Attempt, ray_job: RayJobFacts, pods: Sequence[PodFacts], now: datetime) -> str:
    """Return in words what an attempt waits for."""
    trouble = trouble_of(pods)
    slow = [pod for pod in pods if pod.preparing_since is not None and now - pod.preparing_since >= PREPARING_PATIENCE]
    if trouble is None and slow:
        pod = min(slow, key=_rank)
        return (
            f"attempt {attempt.number}: pod {pod.name} waits for its volumes or its image since {pod.preparing_since:%H:%M:%S} UTC; "
            f"`kubectl describe pod {pod.name}` tells more"
        )
    if trouble is not None:
        return f"attempt {attempt.number}: pod {trouble.name} waits: {trouble.waiting_reason}: {trouble.waiting_message}".rstrip(": ")
    state = ray_job_state(ray_job)
    if state is RayJobState.UNKNOWN:
        words = f"jobDeploymentStatus {ray_job.deployment_status!r}, jobStatus {ray_job.job_status!r}"
        return f"attempt {attempt.number}: KubeRay reports {words}, which this version does not know; it waits for one that it knows"
    if state is RayJobState.SUSPENDED:
        return f"attempt {attempt.number}: the RayJob {ray_job.name} is suspended by somebody else, a queue perhaps"
    if ray_job.deployment_status == "Running":
        return f"attempt {attempt.number}: the Ray cluster is up, the trainer starts"
    return f"attempt {attempt.number}: KubeRay starts the Ray cluster"


def _rank(pod: PodFacts) -> tuple[int, str]:
    return ROLE_RANK.get(pod.role, len(ROLE_RANK)), pod.name
