"""What attempts leave behind: RayJobs to delete, and what must be gone before another attempt may write to the output.

Pure. Test: tests/controller/job/test_remains.py.
"""

from controller.job.facts import RayJobFacts
from controller.job.failures import ray_job_state
from controller.job.situation import Delete, Situation
from controller.kinds import RAY_JOBS
from controller.runtime.rights import rights

RIGHTS = rights(RAY_JOBS, "delete")
"""Every policy may do this."""


def deletion_of(ray_job: RayJobFacts) -> Delete:
    """Return what deletes a RayJob; KubeRay and the garbage collector take its cluster and pods away."""
    return Delete(RAY_JOBS, ray_job.name, ray_job.uid)


def leftovers(situation: Situation) -> list[Delete]:
    """Return the deletions of RayJobs whose attempt is over.

    A RayJob of a later attempt than the status knows is left alone: what is old is not the RayJob but the status that was read.
    """
    newest = situation.last_attempt.number if situation.last_attempt is not None else 0
    over = newest if situation.attempt is None else newest - 1
    going = (ray_job for ray_job in situation.observed.ray_jobs if not ray_job.deleting and not ray_job_state(ray_job).final)
    return sorted((deletion_of(ray_job) for ray_job in going if ray_job.attempt <= over), key=lambda deletion: deletion.name)


def remains(situation: Situation) -> str:
    """Return what earlier RayJobs have left that may still write to the output, such as "2 pods"; empty if nothing.

    Pods with the attempt's own number are its own only while it has a RayJob: one that was deleted before it was seen to run
    leaves pods, and the next one with the same number must not write beside them.
    """
    observed = situation.observed
    own = situation.attempt.number if situation.attempt is not None and situation.ray_job is not None else None
    pods = sum(pod.trains and pod.attempt != own for pod in observed.pods)
    ray_jobs = sum(ray_job.attempt != own and not ray_job_state(ray_job).final for ray_job in observed.ray_jobs)
    clusters = sum(attempt != own for attempt in observed.clusters)
    counts = {"pod": pods, "RayJob": ray_jobs, "RayCluster": clusters}
    return next((f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count), "")
