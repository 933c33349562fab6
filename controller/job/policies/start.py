"""Policy: the next attempt is started, once everything it needs is there and nothing of the one before is left.

The last policy: it always ends the pass. Pure. Test: tests/controller/job/policies/test_start.py.
"""

from dataclasses import replace
from datetime import timedelta

from controller.job.changes import accept, exhaust, refuse
from controller.job.defaults import defaulted
from controller.job.kuberay import NOT_SERVED
from controller.job.pauses import PODS_GONE_POLL, PODS_GONE_POLL_LONGEST, REFERENCE_POLL, REFERENCE_POLL_LONGEST, SOON, growing
from controller.job.remains import leftovers, remains
from controller.job.situation import CreateAttempt, Plan, Situation
from controller.job.trainconfig import output_of
from finetune.api import attempts
from finetune.api.conditions import Reason, get_condition
from finetune.api.status import AttemptOutcome, ConditionType, OutputStatus


def start(situation: Situation) -> Plan:
    """Start an attempt: first its number goes into status, then, in another pass, its objects are created."""
    if situation.observed.missing:
        return _wait_for_references(situation).ends()
    if not situation.observed.kuberay_installed:
        return refuse(situation, Reason.KUBERAY_MISSING, f"{NOT_SERVED}; the job then starts by itself").ends()
    waits_for = [earlier.problem for earlier in situation.observed.earlier if earlier.job is None]
    if waits_for:
        return refuse(situation, Reason.EARLIER_JOB_NOT_READY, "; ".join(waits_for)).ends()
    situation = accept(situation)
    attempt, last = situation.attempt, situation.last_attempt
    failed = last is not None and last.outcome is AttemptOutcome.FAILED
    if last is not None and failed and attempts.charged(situation.status) >= situation.job.max_attempts:
        return exhaust(situation, last).ends()
    remaining = remains(situation.observed, situation.attempt)
    if remaining:
        return _wait_until_gone(situation, remaining).ends()
    if attempt is not None and situation.status.earlier_jobs != situation.job.status.earlier_jobs:
        return _starting(situation, attempt.number).wake_in(SOON).ends()  # what was lost from status is written before it is relied on
    if attempt is not None:
        return _starting(situation, attempt.number).do(CreateAttempt(attempt.number)).ends()
    pause = attempts.retry_wait(situation.status, situation.now, situation.job.uid)
    return (_wait_to_retry(situation, pause) if pause else _begin(situation)).ends()


def _wait_for_references(situation: Situation) -> Situation:
    missing = situation.observed.missing
    situation = refuse(situation, Reason.REFERENCE_MISSING, "; ".join(each.message for each in missing))
    if all(each.watched for each in missing):
        return situation
    accepted = get_condition(situation.status, ConditionType.ACCEPTED)
    age = situation.now - accepted.last_transition_time if accepted is not None else timedelta(0)
    return situation.wake_in(growing(age, REFERENCE_POLL, REFERENCE_POLL_LONGEST))


def _wait_until_gone(situation: Situation, remaining: str) -> Situation:
    ended = [attempt for attempt in situation.status.attempts or [] if attempt.outcome is not None]
    reason = Reason.RETRYING if ended and ended[-1].outcome in attempts.RETRIED else Reason.WAITING_FOR_PODS
    waiting = f"attempt {situation.attempt.number}" if situation.attempt is not None else "the next attempt"
    message = f"{waiting} waits for {remaining} to stop; two writers would corrupt the output"
    waits = situation.condition(ConditionType.RUNNING, "False", reason, message)
    age = situation.now - ended[-1].end_time if ended and ended[-1].end_time is not None else timedelta(0)
    return waits.do(*leftovers(situation)).wake_in(growing(age, PODS_GONE_POLL, PODS_GONE_POLL_LONGEST))


def _wait_to_retry(situation: Situation, pause: timedelta) -> Situation:
    time = f"{situation.now + pause:%H:%M:%S} UTC"
    message = f"the next attempt starts at {time}; the pause doubles with each failure or interruption in a row"
    return situation.condition(ConditionType.RUNNING, "False", Reason.RETRYING, message).wake_at(situation.now + pause)


def _begin(situation: Situation) -> Situation:
    """Write down the next attempt, which has no object yet."""
    situation = replace(situation, status=attempts.begin(situation.status, situation.job.name))
    number = situation.last_attempt.number if situation.last_attempt is not None else 1
    output = output_of(situation.job)
    if situation.status.output is None:
        situation = situation.with_status(output=OutputStatus(uri=output.uri or output.directory))
    return _starting(situation, number)


def _starting(situation: Situation, number: int) -> Situation:
    situation = situation.with_attempt(defaults=defaulted(situation.job, situation.observed.defaults) or None)
    return situation.condition(ConditionType.RUNNING, "False", Reason.STARTING, f"attempt {number} is being created")
