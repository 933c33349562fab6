"""Policy: an attempt whose trainer has stopped reporting is ended, and another one takes its place.

Pure. Test: tests/controller/job/policies/test_stalled.py.
"""

from datetime import timedelta

from controller.job.activity import has_reported
from controller.job.conclude import conclude
from controller.job.failures import Cause, RayJobState, log_tail, ray_job_state
from controller.job.situation import Plan, Situation
from finetune.api.attempts import Ending
from finetune.api.conditions import Reason, get_condition, is_true
from finetune.api.status import Attempt, AttemptOutcome, ConditionType

GRACE = timedelta(seconds=120)
"""Between the condition and the end of the attempt: after an outage of the API server the trainer reports again within it."""


def stalled(situation: Situation) -> Situation | Plan:
    """Say that nothing is reported any more, then end the attempt; take it back when a report comes.

    Only an attempt that runs and has reported can stall: before, runPolicy.pendingDeadlineSeconds counts. Times are those at which
    reports were taken over, never the trainer's own.
    """
    attempt, ray_job, seconds = situation.attempt, situation.ray_job, situation.job.run_policy.stall_timeout_seconds
    last = situation.status.progress.last_report_time if situation.status.progress else None
    runs = ray_job is not None and ray_job_state(ray_job) is RayJobState.RUNNING and not ray_job.deleting and not ray_job.suspended
    if attempt is None or seconds is None or last is None or not runs or not has_reported(situation):
        return _reports_again(situation, "nothing is expected to be reported")
    ends = last + timedelta(seconds=seconds)
    if ends > situation.now:
        return _reports_again(situation, "the trainer reports again").wake_at(ends)
    said = get_condition(situation.status, ConditionType.STALLED)
    since = said.last_transition_time if said is not None and said.status == "True" else situation.now
    words = f"attempt {attempt.number}: the trainer has reported nothing since {last:%Y-%m-%d %H:%M:%S} UTC, {_step(attempt)}"
    if since + GRACE > situation.now:
        message = f"{words}; at {since + GRACE:%H:%M:%S} UTC another attempt takes its place, unless it reports before"
        return situation.condition(ConditionType.STALLED, "True", Reason.STALLED, message).wake_at(since + GRACE)
    message = f"{words}; runPolicy.stallTimeoutSeconds is {seconds}"
    tail = log_tail(ray_job, situation.observed.pods_of(attempt))
    ending = Ending(AttemptOutcome.FAILED, Cause.STALLED, message, retry=True, log_tail=tail)
    # Written first: a RayJob that goes while its attempt counts as running would be charged as deleted by somebody else.
    return conclude(situation, attempt, ending).ends()


def _step(attempt: Attempt) -> str:
    return "before its first step" if attempt.last_step is None else f"after step {attempt.last_step}"


def _reports_again(situation: Situation, message: str) -> Situation:
    if not is_true(situation.status, ConditionType.STALLED):
        return situation
    return situation.condition(ConditionType.STALLED, "False", Reason.REPORTS_AGAIN, message)
