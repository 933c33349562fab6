"""Whether a queue holds an attempt back, and what is said of it.

A RayJob with a queue label is created suspended. Kueue makes a Workload for it, takes the suspension back when it admits it, and
suspends it again when it evicts it: then KubeRay takes the Ray cluster down, and the same RayJob gets another one later. Pure.
Test: tests/controller/job/test_queueing.py.
"""

from dataclasses import dataclass
from datetime import timedelta

from controller.job.facts import Kueue, RayJobFacts, WorkloadFacts
from controller.job.failures import RayJobState, ray_job_state
from controller.job.situation import Situation
from controller.kinds import QUEUE_LABEL, WORKLOADS
from finetune.api.conditions import Reason, get_condition
from finetune.api.status import Attempt, ConditionType

PATIENCE = timedelta(seconds=15)
"""Kueue makes a Workload within a second; after this, something is not set up."""
SERVED = f"{WORKLOADS.kind}s ({WORKLOADS.api_version})"
OTHERWISE = f"or set the label {QUEUE_LABEL} of the job to the empty text, suspend the job and resume it: it then runs without a queue"
REMEDY = "put that right, or name another queue in the label of the job, suspend the job and resume it"
NO_RIGHT = (
    f"the controller may not list and watch {WORKLOADS.plural}.{WORKLOADS.group} in this namespace: its role lacks that right, which the "
    "chart of this version gives it"
)


@dataclass(frozen=True)
class Hold:
    """Why an attempt is held back. `in_queue`: somebody will admit it; otherwise it waits in vain until something is set up."""

    in_queue: bool
    reason: str
    message: str


def is_held(ray_job: RayJobFacts, workload: WorkloadFacts | None) -> bool:
    """Return whether a RayJob is suspended, or about to be; one that was just admitted is not, whatever KubeRay still says."""
    admitted = workload is not None and workload.admitted and not ray_job.suspended
    return ray_job.suspended or (ray_job_state(ray_job) is RayJobState.SUSPENDED and not admitted)


def hold_of(situation: Situation) -> Hold | None:
    """Return why the attempt is held back; None if no queue holds it: it goes on, or somebody else has suspended its RayJob."""
    attempt, ray_job, workload = situation.attempt, situation.ray_job, situation.observed.workload
    if attempt is None or ray_job is None or not is_held(ray_job, workload):
        return None
    if workload is not None:
        return Hold(not workload.in_vain, workload.reason, _words(situation, attempt, workload))
    if not ray_job.queue:
        return None
    held = f"attempt {attempt.number} does not start: the RayJob {ray_job.name} is suspended for the queue {ray_job.queue}, and"
    if situation.observed.kueue is Kueue.ABSENT:
        message = f"{held} the cluster serves no {SERVED}: install Kueue 0.15 or newer, {OTHERWISE}"
        return Hold(False, Reason.KUEUE_MISSING, message)
    if situation.observed.kueue is Kueue.WATCHED and situation.now - ray_job.created >= PATIENCE:
        message = (
            f"{held} no Workload was made for it: have Kueue run with ray.io/rayjob among its integrations.frameworks and, if it is "
            f"limited to some namespaces, with this one among them, {OTHERWISE}"
        )
        return Hold(False, Reason.WORKLOAD_MISSING, message)
    unknown = f"; why is not known, because {NO_RIGHT}" if situation.observed.kueue is Kueue.FORBIDDEN else ""
    return Hold(True, Reason.QUEUED, f"attempt {attempt.number} waits in the queue {ray_job.queue}{unknown}")


def patience_is_over(situation: Situation) -> bool:
    """Return whether a Workload that is not there by now will not come by itself."""
    return situation.ray_job is None or situation.now - situation.ray_job.created >= PATIENCE


def _words(situation: Situation, attempt: Attempt, workload: WorkloadFacts) -> str:
    said = get_condition(situation.status, ConditionType.QUEUED)
    since = said.last_transition_time if said is not None and said.status == "True" else situation.now
    resumes = "; it goes on from the last checkpoint" if workload.evicted else ""
    why = f": {workload.message}" if workload.message else ""
    if workload.in_vain:
        waits = "was evicted and is not" if workload.evicted else "is not"
        return f"attempt {attempt.number} {waits} going to be admitted from the queue {workload.queue}{resumes}{why}; {REMEDY}"
    waits = "was evicted and waits again" if workload.evicted else "waits"
    return f"attempt {attempt.number} {waits} in the queue {workload.queue} since {since:%Y-%m-%d %H:%M:%S} UTC{resumes}{why}"
