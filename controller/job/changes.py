"""Condition changes that several policies make: accepted, refused, resumed, ended, given up.

Pure. Test: tests/controller/job/test_changes.py.
"""

from dataclasses import replace

from controller.job.pauses import SOON
from controller.job.situation import Situation
from controller.job.verdict import Verdict, exhausted, pronounce
from finetune.api import attempts
from finetune.api.attempts import Ending
from finetune.api.conditions import Reason, get_condition
from finetune.api.status import Attempt, AttemptOutcome, ConditionType


def accept(situation: Situation) -> Situation:
    """Say that the job can be run."""
    return situation.condition(ConditionType.ACCEPTED, "True", Reason.ACCEPTED, "the spec is valid and everything it refers to exists")


def refuse(situation: Situation, reason: str, message: str) -> Situation:
    """Say why the job cannot be run, or not yet. If it could not be seen before, that is over: nothing of it runs."""
    running = get_condition(situation.status, ConditionType.RUNNING)
    if running is not None and running.reason == Reason.OBSERVATION_FAILED:
        situation = situation.condition(ConditionType.RUNNING, "False", reason, message)
    return situation.condition(ConditionType.ACCEPTED, "False", reason, message)


def resume(situation: Situation) -> Situation:
    """Say that a job is not suspended any more, if its conditions say that it is, or is about to be."""
    condition = get_condition(situation.status, ConditionType.SUSPENDED)
    if condition is None or (condition.status != "True" and condition.reason != Reason.STOPPING):
        return situation
    message = "the job resumes from its last checkpoint, if there is one"
    return situation.condition(ConditionType.SUSPENDED, "False", Reason.RESUMED, message)


def finish(situation: Situation, kind: ConditionType, reason: str, message: str) -> Situation:
    """End the job, in its conditions and in the attempt that ended it."""
    situation = resume(situation).with_attempt(job_reason=reason)
    status = pronounce(situation.status, Verdict(kind, reason, message), generation=situation.job.generation, now=situation.now)
    return over(replace(situation, status=status))


def exhaust(situation: Situation, last: Attempt) -> Situation:
    """End the job because all attempts that it may have failed."""
    return finish(situation, ConditionType.FAILED, Reason.ATTEMPTS_EXHAUSTED, exhausted(situation.status, last))


def give_up(situation: Situation, reason: Reason, message: str) -> Situation:
    """End the job, and the attempt that could go on. What runs is deleted once this is written: its end would else count as a failure."""
    attempt, ray_job = situation.attempt, situation.ray_job
    if attempt is not None:
        if ray_job is not None:
            situation = situation.with_attempt(start_time=ray_job.created)
        ending = Ending(AttemptOutcome.FAILED, reason, message)
        situation = replace(situation, status=attempts.end(situation.status, ending, situation.now))
    return finish(situation, ConditionType.FAILED, reason, message).wake_in(SOON)


def over(situation: Situation) -> Situation:
    """Say that nothing runs any more, because the job has ended."""
    return situation.condition(ConditionType.RUNNING, "False", Reason.FINISHED, "the job has ended")
