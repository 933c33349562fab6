"""What is known of a failed attempt beside what the trainer and KubeRay say: how its pods ended, also those that are gone.

Pure. Test: tests/controller/job/test_evidence.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from controller.job.facts import PodFacts
from controller.job.failures import Cause, out_of_memory
from controller.job.parsing import OUT_OF_MEMORY
from finetune.api.attempts import Ending
from finetune.api.record import REASON_GENERIC
from finetune.api.status import Attempt, AttemptOutcome

DISRUPTIONS = frozenset({
    "Evicted", "NodeLost", "NodeShutdown", "Terminated", "Preempting", "PreemptionByScheduler", "DeletionByTaintManager",
    "EvictionByEvictionAPI", "DeletionByPodGC", "TerminationByKubelet",
})  # fmt: skip
"""What Kubernetes says where it has ended a pod for reasons of its own."""
KUBERAY_GAVE_UP = frozenset({"SubmissionFailed", "JobDeploymentStatusTransitionGracePeriodExceeded"})
"""What KubeRay says where it finds the head no more: its submitter could not go on, or Ray's last word did not come."""
UNEXPLAINED = frozenset({REASON_GENERIC, Cause.TRAINER_FAILED, Cause.TRAINER_KILLED}) | KUBERAY_GAVE_UP


@dataclass(frozen=True)
class Evidence:
    """Exit codes, and what Kubernetes says of pods that failed.

    `disruption` is a sentence about one that it ended itself, `killed` the name of one that ran out of memory.
    """

    exit_codes: frozenset[int] = frozenset()
    pod_reasons: frozenset[str] = frozenset()
    disruption: str = ""
    killed: str = ""

    @classmethod
    def of(cls, ending: Ending, attempt: Attempt, pods: Sequence[PodFacts]) -> Self:
        """Gather it from the pods that are still there, and from what was noted of one that failed before."""
        # The submitter only repeats that the driver has failed.
        failed, noted = [pod for pod in pods if pod.failed and pod.trains], attempt.failed_pod
        codes = {ending.exit_code, *(pod.exit_code for pod in failed), noted.exit_code if noted else None}
        ends = [(pod.name, pod.node, reason) for pod in failed for reason in pod.reasons]
        if noted is not None and noted.reason:
            ends.insert(0, (noted.name, noted.node or "", noted.reason))
        disrupted = next((f"pod {name}{f' on node {node}' if node else ''}: {why}" for name, node, why in ends if why in DISRUPTIONS), "")
        killed = next((name for name, _, reason in ends if reason == OUT_OF_MEMORY), "")
        return cls(frozenset(code for code in codes if code), frozenset(reason for _, _, reason in ends), disrupted, killed)


def explained(ending: Ending, evidence: Evidence) -> Ending:
    """Return the ending of an attempt that lost a pod, which the trainer sees only as an error of its own.

    The pod ran out of memory, or Kubernetes itself ended it.
    """
    if ending.outcome is not AttemptOutcome.FAILED or ending.reason not in UNEXPLAINED:
        return ending
    if evidence.killed:
        return replace(ending, reason=Cause.OUT_OF_MEMORY, message=f"{out_of_memory(evidence.killed)}; {ending.message}")
    if evidence.disruption:
        return replace(ending, reason=Cause.POD_DISRUPTED, message=f"{evidence.disruption}; {ending.message}")
    return ending
