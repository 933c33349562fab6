"""How long a job has run, since when it waits, and for what: what deadlines count from.

`settled` alone writes the first two; it compares the status before and after a pass. Pure.
Test: tests/controller/job/test_activity.py.
"""

from datetime import datetime, timedelta

from controller.job.facts import Job, RayJobFacts
from controller.job.failures import RayJobState, ray_job_state
from controller.job.queueing import hold_of, is_held
from controller.job.situation import Situation
from finetune.api.attempts import retry_wait, unfinished
from finetune.api.conditions import Phase, Reason, get_condition, is_true, phase, set_condition
from finetune.api.cursor import Cursor
from finetune.api.status import ConditionType, FineTuneJobStatus

WAITS = frozenset({Phase.PENDING, Phase.WAITING, Phase.STARTING})
"""A job that pauses before another attempt does not wait for anybody, and one whose spec is invalid waits in vain. What an earlier job
takes, its own deadlines bound."""


def running_since(status: FineTuneJobStatus) -> datetime | None:
    """Return since when the job runs without a break, None if it does not."""
    running = get_condition(status, ConditionType.RUNNING)
    return running.last_transition_time if running is not None and running.status == "True" else None


def active_time(status: FineTuneJobStatus, now: datetime) -> timedelta:
    """Return how long the job has run, over all its attempts."""
    since = running_since(status)
    open_stretch = max(timedelta(0), now - since) if since is not None else timedelta(0)
    return timedelta(seconds=status.active_seconds or 0) + open_stretch


def settled(before: FineTuneJobStatus, after: FineTuneJobStatus, job: Job, ray_job: RayJobFacts | None, now: datetime) -> FineTuneJobStatus:
    """Return the status after a pass with the time that has been run, if the job has stopped running, and since when it waits.

    `ray_job` is that of the attempt that has not ended. An attempt that has ended neither stalls nor is in a queue.
    """
    for kind in (ConditionType.STALLED, ConditionType.QUEUED):
        if is_true(after, kind) and unfinished(after) is None:
            message = "the attempt has ended"
            after = set_condition(after, kind, "False", Reason.FINISHED, message, generation=job.generation, now=now)
    since, runs_on = running_since(before), running_since(after)
    active = before.active_seconds
    if since is not None and runs_on != since:
        active = round((active_time(before, now)).total_seconds())
    waits = _waits(after, ray_job, job.uid, now)
    return after.model_copy(update={"active_seconds": active, "waiting_since": (before.waiting_since or now) if waits else None})


def _waits(status: FineTuneJobStatus, ray_job: RayJobFacts | None, uid: str, now: datetime) -> bool:
    word, running = phase(status), get_condition(status, ConditionType.RUNNING)
    if word is Phase.RUNNING:
        return ray_job is not None and not _reported_in(status, ray_job)
    if word is Phase.RETRYING:
        return not retry_wait(status, now, uid)  # what is left of the attempt before may never go
    accepted = get_condition(status, ConditionType.ACCEPTED)
    refused = accepted is not None and accepted.status == "False"
    queued = running is not None and running.reason == Reason.QUEUED and not refused
    held = accepted is not None and accepted.reason in (Reason.STATUS_UNREADABLE, Reason.EARLIER_JOB_NOT_READY)
    unseen = accepted is not None and accepted.reason == Reason.KUBERAY_MISSING and _has_begun(status)
    return word in WAITS and not queued and not held and not unseen


def _has_begun(status: FineTuneJobStatus) -> bool:
    """Return whether an attempt has begun and not ended. While no RayJobs are served, its pods may train on, and nobody sees it."""
    attempt = unfinished(status)
    return attempt is not None and attempt.start_time is not None


def has_reported(situation: Situation) -> bool:
    """Return whether the attempt that has not ended has reported, in the Ray cluster that it runs in."""
    return situation.ray_job is not None and _reported_in(situation.status, situation.ray_job)


def _reported_in(status: FineTuneJobStatus, ray_job: RayJobFacts) -> bool:
    """Return whether the attempt has reported in this RayJob's cluster: a queue that evicts it lets it begin again in another one."""
    attempt, cursor = unfinished(status), Cursor.parse(status.report_cursor)
    return attempt is not None and cursor is not None and (cursor.attempt, cursor.cluster) == (attempt.number, ray_job.cluster)


def still_waits(situation: Situation) -> bool:
    """Return whether a job that was waiting in its last pass waits still: not if its attempt runs and reports, is in a queue, or has
    begun where no RayJobs are served any more."""
    ray_job = situation.ray_job
    if ray_job is None:
        return situation.observed.kuberay_installed or not _has_begun(situation.status)
    if is_held(ray_job, situation.observed.workload):
        hold = hold_of(situation)
        return hold is not None and not hold.in_queue
    return not (ray_job_state(ray_job) is RayJobState.RUNNING and has_reported(situation))


def what_is_waited_for(status: FineTuneJobStatus) -> str:
    """Return the message of the condition that says why the job does not run."""
    accepted, running = get_condition(status, ConditionType.ACCEPTED), get_condition(status, ConditionType.RUNNING)
    said = accepted if accepted is not None and accepted.status == "False" else running
    if said is None:
        return "nothing is known"
    first_report = said is running and running is not None and running.status == "True"
    return f"the trainer's first report; {said.message}" if first_report else said.message
