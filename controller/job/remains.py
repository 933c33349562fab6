"""What attempts leave behind: RayJobs to delete, and what must be gone before another attempt may write to the output.

Pure. Test: tests/controller/job/test_remains.py.
"""

from controller.job.facts import Observed, RayJobFacts
from controller.job.failures import RayJobState, ray_job_state
from controller.job.situation import Delete, Situation
from controller.kinds import RAY_JOBS
from controller.runtime.rights import rights
from finetune.api.status import Attempt

RIGHTS = rights(RAY_JOBS, "delete")
"""Every policy may do this."""


def deletion_of(ray_job: RayJobFacts) -> Delete:
    """Return what deletes a RayJob; KubeRay and the garbage collector take its cluster and pods away."""
    return Delete(RAY_JOBS, ray_job.name, ray_job.uid)


def leftovers(situation: Situation) -> list[Delete]:
    """Return the deletions of RayJobs whose attempt is over.

    KubeRay takes the cluster of a final one away, but not where it refuses the RayJob since somebody changed it.
    A RayJob of a later attempt than the status knows is left alone: what is old is not the RayJob but the status that was read.
    """
    newest = situation.last_attempt.number if situation.last_attempt is not None else 0
    over = newest if situation.attempt is None else newest - 1
    going = (ray_job for ray_job in situation.observed.ray_jobs if not ray_job.deleting and _holds_a_cluster(ray_job))
    return sorted((deletion_of(ray_job) for ray_job in going if ray_job.attempt <= over), key=lambda deletion: deletion.name)


def _holds_a_cluster(ray_job: RayJobFacts) -> bool:
    state = ray_job_state(ray_job)
    return not state.final or (state is RayJobState.INVALID and bool(ray_job.cluster))


def remains(observed: Observed, attempt: Attempt | None) -> str:
    """Return what earlier RayJobs have left that may still write to the output, such as "2 pods of attempt 1"; empty if nothing.

    `attempt` is the one that is to write next, None if it has no number yet. Pods with its number are its own only while it has
    a RayJob: one that was deleted before it was seen to run leaves pods, and the next one with the same number must not write
    beside them.
    """
    own = attempt.number if attempt is not None and observed.ray_job_of(attempt) is not None else None
    left = {
        "pod": [pod.attempt for pod in observed.pods if pod.trains],
        "RayJob": [ray_job.attempt for ray_job in observed.ray_jobs if not ray_job_state(ray_job).final],
        "RayCluster": list(observed.clusters),
    }
    for kind, numbers in left.items():
        others = [number for number in numbers if number != own]
        if others:
            return f"{len(others)} {kind}{'s' if len(others) > 1 else ''} of {_whose(set(others), attempt)}"
    return ""


def _whose(numbers: set[int], attempt: Attempt | None) -> str:
    if attempt is not None and numbers == {attempt.number}:
        return "an earlier RayJob of the same attempt"
    known = sorted(numbers - {0})  # 0: the label with the number is lost
    if not known:
        return "an earlier attempt"
    return f"attempt{'s' if len(known) > 1 else ''} {', '.join(map(str, known))}"
