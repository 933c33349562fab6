"""Policy: where an attempt runs, and the first of its pods that fails, are written down while the pods are there. Always passes on.

KubeRay replaces a pod that has failed, and its cluster is gone soon after the end: then nobody could say any more what the attempt died of.
Pure. Test: tests/controller/job/policies/test_witnessed.py.
"""

from controller.job.names import ROLE_HEAD
from controller.job.queueing import is_held
from controller.job.situation import Situation
from finetune.api.status import FailedPod


def witnessed(situation: Situation) -> Situation:
    """Note the node of the head, and the first pod that has failed."""
    attempt = situation.attempt
    if attempt is None or (situation.ray_job is not None and is_held(situation.ray_job, situation.observed.workload)):
        return situation  # what a queue takes down has not failed, and the attempt goes on elsewhere
    pods = [pod for pod in situation.observed.pods_of(attempt) if pod.trains]
    fallen = [pod for pod in situation.observed.fallen if pod.attempt == attempt.number and pod.trains]
    node = next((pod.node for pod in [*pods, *fallen] if pod.role == ROLE_HEAD and pod.node), None)
    if node is not None and attempt.node is None:
        situation = situation.with_attempt(node=node)
    failing = fallen + sorted((pod for pod in pods if pod.failed), key=lambda pod: pod.name)  # what is gone was the first to fail
    failed = min(failing, key=lambda pod: not pod.out_of_memory, default=None)
    if failed is None or attempt.failed_pod is not None:
        return situation
    first = FailedPod(name=failed.name, node=failed.node or None, reason=failed.reasons[0], exit_code=failed.exit_code)
    return situation.with_attempt(failed_pod=first)
