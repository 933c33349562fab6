"""Pods that failed and were deleted before anybody looked: KubeRay takes a failed pod away within milliseconds, to replace it.

The cache of pods has them no more when the job is looked at a moment later, and nobody could say what the attempt died of. Each is
kept until a pass has taken it into account. Test: tests/controller/test_fallen.py.
"""

from collections.abc import Iterable, Sequence

from controller.job.facts import PodFacts
from controller.job.parsing import attempt_of, pod_from
from controller.runtime.resources import KubeObject
from controller.runtime.store import Change

PER_JOB_MOST = 4
"""Of one attempt, the first to go: one of them is the cause, and the others its effects."""
JOBS_MOST = 1000
"""A replica that stands by looks at no job, and forgets those that it has heard of first."""


class Fallen:
    """Failed pods of Ray clusters that are gone, by the keys of the jobs that they belong to; of each only the newest attempt's."""

    def __init__(self) -> None:
        self._pods: dict[str, list[KubeObject]] = {}

    def __len__(self) -> int:
        return len(self._pods)

    def take(self, change: Change, keys: Iterable[str]) -> None:
        """Keep the pod of a change for the jobs with these keys, if it is gone and had failed."""
        old, new = change.old, change.new
        if old is None or (new is not None and new["metadata"].get("uid") == old["metadata"].get("uid")):
            return
        facts = pod_from(old)
        if not facts.failed or not facts.trains:
            return
        for key in keys:
            pods = [pod for pod in self._pods.get(key, []) if attempt_of(pod) >= facts.attempt]
            self._pods[key] = [*pods, old][:PER_JOB_MOST]
            if len(self._pods) > JOBS_MOST:
                del self._pods[next(iter(self._pods))]

    def of(self, key: str) -> list[KubeObject]:
        """Return the pods of a job, the first to go first."""
        return list(self._pods.get(key, []))

    def forget(self, key: str, pods: Sequence[PodFacts] | None = None) -> None:
        """Forget pods that were taken into account, all of the job unless they are given."""
        names = {pod.name for pod in pods or ()}
        left = [pod for pod in self._pods.get(key, []) if pods is not None and pod["metadata"]["name"] not in names]
        if left:
            self._pods[key] = left
        else:
            self._pods.pop(key, None)
