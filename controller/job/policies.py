"""The policies of a job's life, each a function from a situation to a plan, or to None when it has nothing to say.

`plan` asks them in order; what one says, the later ones need not consider. Pure. Tests: tests/controller/job/test_plan.py,
tests/controller/job/test_endings.py, tests/controller/job/test_suspension.py.
"""

from dataclasses import replace
from datetime import timedelta

from controller.job.children import safety
from controller.job.facts import CONFIG_ERROR, PodFacts
from controller.job.failures import RayJobState, deleted_ending, ending_of, ray_job_state
from controller.job.names import DASHBOARD_PORT, head_service, token_secret
from controller.job.remains import leftovers, remains
from controller.job.situation import CreateAttempt, DeleteRayJob, Plan, Situation
from controller.job.trainconfig import train_config
from controller.job.trouble import seconds_to_patience_end, trouble_of, why_not_running
from controller.job.upkeep import releases, restores, tell_of_supports
from controller.job.verdict import Verdict, exhausted, pronounce, verdict_on
from finetune.api import attempts
from finetune.api.attempts import Ending
from finetune.api.conditions import Reason, get_condition, is_true
from finetune.api.record import Result
from finetune.api.resolve import local_paths
from finetune.api.status import Attempt, AttemptOutcome, ConditionType, Dashboard, OutputStatus

REFERENCE_POLL_FIRST_SECONDS, REFERENCE_POLL_LAST_SECONDS = 5.0, 60.0
"""A user's ConfigMap is not watched: every ConfigMap of the cluster would have to be. Who has just created the job waits for it."""
REFERENCE_POLL_SHARE = 10
"""The pause between two looks is a tenth of the time that it has been missing."""
PODS_GONE_POLL_SECONDS, PODS_GONE_POLL_LAST_SECONDS = 10.0, 60.0
"""Pods are watched; this is for a watch event that never comes."""
SOON_SECONDS = 1.0
"""What was written to status brings the job back by itself; this is for a watch that lags."""
UNWATCHED_POLL_SECONDS = 30.0
"""Of an object that has lost its label no watch tells, nor that a name is free again."""
LINGERING = timedelta(seconds=60)
"""A driver that has said its last word ends within seconds; after this, its RayJob is deleted."""


def deleted(situation: Situation) -> Plan | None:
    """Leave a job alone that is being deleted: the garbage collector takes its children, once none of them holds it up."""
    return situation.plan(*releases(situation)) if situation.job.deleting else None


def finished(situation: Situation) -> Plan | None:
    """Do nothing more for a job that has succeeded or failed, but see that nothing of it goes on running."""
    verdict, now = verdict_on(situation.status), situation.now
    if verdict is None:
        return None
    status = pronounce(situation.status, verdict, generation=situation.job.generation, now=now)
    situation = replace(situation, status=status)
    if status.attempts and get_condition(status, ConditionType.ACCEPTED) is None:
        situation = _accept(situation)
    # A refusal to delete what lingered may have been told here, and may be over.
    situation = situation.condition(ConditionType.RUNNING, "False", Reason.FINISHED, "the job has ended")
    last = status.attempts[-1] if status.attempts else None
    going = leftovers(situation)
    lingers = last is not None and DeleteRayJob(last.ray_job_name) in going
    remaining = (last.end_time or now) + LINGERING - now if last is not None and lingers else timedelta(0)
    if last is None or remaining <= timedelta(0):
        return situation.plan(*going, *releases(situation))
    others = [deletion for deletion in going if deletion.name != last.ray_job_name]
    return situation.plan(*others, *releases(situation), requeue_after=remaining.total_seconds())


def invalid(situation: Situation) -> Plan | None:
    """Refuse a spec that cannot be run here, naming the field; only a new job can mend it.

    An attempt that runs was accepted by another version of this program: it goes on, and nothing that follows needs its spec.
    """
    attempt, spec = situation.attempt, situation.job.spec
    if attempt is not None and (situation.ray_job is not None or attempt.start_time is not None):
        return None
    if not situation.job.suspended:
        situation = _resume(situation)
    if spec is None:
        return _refuse(situation, Reason.SPEC_INVALID, situation.job.spec_problem).plan(*leftovers(situation))
    paths = [f"{reference.field}.path" for reference in local_paths(spec)]
    if not paths and situation.observed.refused:
        return _refuse(situation, Reason.SPEC_INVALID, "; ".join(situation.observed.refused)).plan(*leftovers(situation))
    if not paths:
        return None
    message = (
        f"{', '.join(paths)}: a local path exists for `finetune run` only; put the file on a PersistentVolumeClaim or into a "
        "ConfigMap and name that instead, in a new job"
    )
    return _refuse(situation, Reason.SPEC_INVALID, message).plan(*leftovers(situation))


def suspended(situation: Situation) -> Plan | None:
    """Give all resources back while the user wants the job to rest; what it has reached stays in its checkpoints."""
    if not situation.job.suspended:
        return None
    attempt, ray_job = situation.attempt, situation.ray_job
    if ray_job_state(ray_job).final if ray_job is not None else situation.outcome is not None:
        return None  # it has ended before the user's wish reached it
    if attempt is not None:
        if ray_job is not None:
            situation = situation.with_attempt(start_time=ray_job.created)
        ending = Ending(AttemptOutcome.SUSPENDED, Reason.SUSPENDED, "the job was suspended")
        situation = replace(situation, status=attempts.end(situation.status, ending, situation.now))
    pods = [pod for pod in situation.observed.pods if pod.trains]
    message = (
        f"waits for {len(pods)} pods to stop" if pods else "no pods run; set runPolicy.suspend to false to go on from the last checkpoint"
    )
    situation = situation.condition(ConditionType.SUSPENDED, "True", Reason.SUSPENDED, message)
    situation = situation.condition(ConditionType.RUNNING, "False", Reason.SUSPENDED, "the job is suspended")
    if attempt is not None:
        # Written first: a RayJob that goes while its attempt counts as running would be charged as deleted by somebody else.
        return situation.plan(requeue_after=SOON_SECONDS)
    return situation.plan(*leftovers(situation))


def attempt_ended(situation: Situation) -> Plan | None:
    """Close the attempt whose RayJob is final or gone, and decide what comes of the job."""
    decision = _end_of_attempt(situation)
    return None if decision is None else replace(decision, actions=(*decision.actions, *releases(situation)))


def _end_of_attempt(situation: Situation) -> Plan | None:
    attempt, ray_job = situation.attempt, situation.ray_job
    if attempt is None:
        return None
    if ray_job is None:
        if attempt.start_time is None or not situation.observed.kuberay_installed:
            return None
        return _conclude(situation, attempt, deleted_ending(attempt.ray_job_name, situation.outcome, _pods_of(situation, attempt)))
    # What the input's fault is, the driver knows before KubeRay has noticed that the driver is gone.
    input_invalid = situation.outcome is not None and situation.outcome.result is Result.INPUT_INVALID
    if ray_job_state(ray_job).final:
        return _conclude(situation, attempt, ending_of(ray_job, situation.outcome, _pods_of(situation, attempt)))
    if input_invalid and situation.outcome is not None:
        outcome = situation.outcome
        return _conclude(situation, attempt, Ending(AttemptOutcome.FAILED, outcome.reason, outcome.message))
    return None


def unsafe(situation: Situation) -> Plan | None:
    """Delete RayJobs that lack what safety hangs on, in every pass until they are gone.

    One may stand although its creation was refused: the answer was lost, its deletion failed, or somebody changed it since.
    """
    there = [ray_job for ray_job in situation.observed.ray_jobs if ray_job.unsafe and not ray_job_state(ray_job).final]
    if not there:
        return None
    words = safety.words(list(there[-1].unsafe))
    situation = _resume(situation)
    attempt = situation.attempt
    if attempt is not None and attempt.start_time is not None and situation.ray_job in there:
        # It was seen to run: that it ends, and without a charge, is written before its RayJob goes.
        ending = Ending(AttemptOutcome.INTERRUPTED, Reason.KUBERAY_UNSAFE, words)
        situation = replace(situation, status=attempts.end(situation.status, ending, situation.now))
        return situation.condition(ConditionType.RUNNING, "False", Reason.KUBERAY_UNSAFE, words).plan(requeue_after=SOON_SECONDS)
    situation = situation.condition(ConditionType.RUNNING, "False", Reason.KUBERAY_UNSAFE, words)
    names = {ray_job.name for ray_job in there if not ray_job.deleting} | {deletion.name for deletion in leftovers(situation)}
    return situation.plan(*map(DeleteRayJob, sorted(names)), requeue_after=PODS_GONE_POLL_SECONDS)


def going(situation: Situation) -> Plan | None:
    """Wait for a RayJob to go that somebody deletes before it was seen: the attempt has not begun, and starts when the name is free."""
    attempt, ray_job = situation.attempt, situation.ray_job
    if attempt is None or ray_job is None or not ray_job.deleting or attempt.start_time is not None:
        return None
    message = f"attempt {attempt.number} starts when the RayJob {ray_job.name}, which is being deleted, is gone"
    waits = _resume(situation).condition(ConditionType.RUNNING, "False", Reason.STARTING, message)
    return waits.plan(*leftovers(waits), requeue_after=PODS_GONE_POLL_SECONDS)


def running(situation: Situation) -> Plan | None:
    """Report on the attempt that runs or is about to."""
    attempt, ray_job = situation.attempt, situation.ray_job
    if attempt is None or ray_job is None:
        return None
    situation = _resume(situation).with_attempt(start_time=ray_job.created)
    if ray_job.cluster:
        service, secret = head_service(ray_job.cluster), token_secret(ray_job.cluster)
        situation = situation.with_status(dashboard=Dashboard(service=service, port=DASHBOARD_PORT, token_secret=secret))
    pods = _pods_of(situation, attempt)
    trouble = trouble_of(pods)
    if trouble is not None and trouble.waiting_reason == CONFIG_ERROR:
        reason = Reason.SECRET_MISSING if "secret" in trouble.waiting_message.lower() else Reason.REFERENCE_MISSING
        message = f"pod {trouble.name} cannot start: {trouble.waiting_message}; create it and the pod starts by itself"
        situation = _refuse(situation, reason, message)
    else:
        situation = _accept(situation)
    if ray_job_state(ray_job) is RayJobState.RUNNING:
        message = f"attempt {attempt.number} runs in the Ray cluster {ray_job.cluster}"
        situation = situation.condition(ConditionType.RUNNING, "True", Reason.RUNNING, message)
    else:
        message = why_not_running(attempt, ray_job, pods, situation.now)
        situation = situation.condition(ConditionType.RUNNING, "False", Reason.STARTING, message)
    situation = tell_of_supports(situation)
    supports = situation.observed.supports
    unwatched = UNWATCHED_POLL_SECONDS if situation.observed.unwatched or supports.foreign or not supports.watched else None
    due = (situation.report_due_seconds, seconds_to_patience_end(pods, situation.now), unwatched)
    # An attempt before this one must not write beside it, whoever made its RayJob, and however late.
    requeue_after = min((seconds for seconds in due if seconds is not None), default=None)
    return situation.plan(*leftovers(situation), *restores(situation, attempt.number), requeue_after=requeue_after)


def start(situation: Situation) -> Plan | None:
    """Start an attempt: first its number goes into status, then, in another pass, its objects are created."""
    situation = _resume(situation)
    observed, status = situation.observed, situation.status
    if observed.missing:
        refused = _refuse(situation, Reason.REFERENCE_MISSING, "; ".join(missing.message for missing in observed.missing))
        return refused.plan(requeue_after=None if all(missing.watched for missing in observed.missing) else _reference_pause(refused))
    if not observed.kuberay_installed:
        message = "the cluster serves no RayJobs (ray.io/v1): install KubeRay 1.6 or newer, the job then starts by itself"
        return _refuse(situation, Reason.KUBERAY_MISSING, message).plan()
    situation = _accept(situation)
    attempt, remaining = situation.attempt, remains(situation)
    if attempt is not None:
        if remaining:
            return _wait_until_gone(situation, remaining)
        return _starting(situation, attempt.number).plan(CreateAttempt(attempt.number))
    last = status.attempts[-1] if status.attempts else None
    if last is not None and last.outcome is AttemptOutcome.FAILED and attempts.charged(status) >= situation.job.max_attempts:
        return _exhausted(situation, last).plan()
    if remaining:
        return _wait_until_gone(situation, remaining)
    pause = attempts.retry_wait(status, situation.now)
    if pause:
        time = f"{situation.now + pause:%H:%M:%S} UTC"
        message = f"the next attempt starts at {time}; the pause doubles with each failure or interruption in a row"
        waits = situation.condition(ConditionType.RUNNING, "False", Reason.RETRYING, message)
        return waits.plan(requeue_after=pause.total_seconds())
    unseen = leftovers(situation)
    situation = replace(situation, status=attempts.begin(situation.status, situation.job.name))
    number = situation.status.attempts[-1].number if situation.status.attempts else 1
    output = train_config(situation.job, number).output
    if situation.status.output is None:
        situation = situation.with_status(output=OutputStatus(uri=output.uri or output.directory))
    return _starting(situation, number).plan(*unseen)


def _wait_until_gone(situation: Situation, remaining: str) -> Plan:
    ended = [attempt for attempt in situation.status.attempts or [] if attempt.outcome is not None]
    reason = Reason.RETRYING if ended and ended[-1].outcome in attempts.RETRIED else Reason.WAITING_FOR_PODS
    message = f"the next attempt waits for the end of {remaining} of the one before; two writers would spoil the output"
    waits = situation.condition(ConditionType.RUNNING, "False", reason, message)
    over = (situation.now - ended[-1].end_time).total_seconds() if ended and ended[-1].end_time is not None else 0.0
    pause = min(max(over / REFERENCE_POLL_SHARE, PODS_GONE_POLL_SECONDS), PODS_GONE_POLL_LAST_SECONDS)
    return waits.plan(*leftovers(situation), requeue_after=pause)


def _conclude(situation: Situation, attempt: Attempt, ending: Ending) -> Plan:
    """Close the attempt with `ending`; the job succeeds, fails, or waits for another attempt."""
    situation = replace(situation, status=attempts.end(situation.status, ending, situation.now))
    if attempt.start_time is None and situation.observed.ray_job_of(attempt) is not None:
        ray_job = situation.observed.ray_job_of(attempt)
        situation = situation.with_attempt(start_time=ray_job.created if ray_job else None)
    if ending.outcome is AttemptOutcome.SUCCEEDED:
        message = ending.message or f"attempt {attempt.number} succeeded"
        return _finish(situation, ConditionType.SUCCEEDED, Reason.SUCCEEDED, message).plan()
    if not ending.retry:
        return _finish(situation, ConditionType.FAILED, str(ending.reason), ending.message).plan()
    if ending.charged and attempts.charged(situation.status) >= situation.job.max_attempts:
        return _exhausted(situation, situation.status.attempts[-1] if situation.status.attempts else attempt).plan()
    message = f"attempt {attempt.number} ended ({ending.reason}); the next one goes on from the last checkpoint. {ending.message}"
    return situation.condition(ConditionType.RUNNING, "False", Reason.RETRYING, message).plan(requeue_after=SOON_SECONDS)


def _exhausted(situation: Situation, last: Attempt) -> Situation:
    return _finish(situation, ConditionType.FAILED, Reason.ATTEMPTS_EXHAUSTED, exhausted(situation.status, last))


def _finish(situation: Situation, kind: ConditionType, reason: str, message: str) -> Situation:
    """Make the job's end known, in its conditions and in the attempt that ended it."""
    verdict = Verdict(kind, reason, message)
    situation = _resume(situation).with_attempt(job_reason=reason)
    situation = replace(situation, status=pronounce(situation.status, verdict, generation=situation.job.generation, now=situation.now))
    return situation.condition(ConditionType.RUNNING, "False", Reason.FINISHED, "the job has ended")


def _refuse(situation: Situation, reason: str, message: str) -> Situation:
    return situation.condition(ConditionType.ACCEPTED, "False", reason, message)


def _reference_pause(situation: Situation) -> float:
    accepted = get_condition(situation.status, ConditionType.ACCEPTED)
    age = situation.now - accepted.last_transition_time if accepted is not None else timedelta(0)
    return min(max(age.total_seconds() / REFERENCE_POLL_SHARE, REFERENCE_POLL_FIRST_SECONDS), REFERENCE_POLL_LAST_SECONDS)


def _starting(situation: Situation, number: int) -> Situation:
    return situation.condition(ConditionType.RUNNING, "False", Reason.STARTING, f"attempt {number} is being created")


def _accept(situation: Situation) -> Situation:
    return situation.condition(ConditionType.ACCEPTED, "True", Reason.ACCEPTED, "the spec can be run, and what it names is there")


def _resume(situation: Situation) -> Situation:
    if not is_true(situation.status, ConditionType.SUSPENDED):
        return situation
    return situation.condition(
        ConditionType.SUSPENDED, "False", Reason.RESUMED, "the job goes on from its last checkpoint, if there is one"
    )


def _pods_of(situation: Situation, attempt: Attempt) -> list[PodFacts]:
    return [pod for pod in situation.observed.pods if pod.attempt == attempt.number]
