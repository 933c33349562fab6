"""Policy: an attempt whose RayJob is final or gone is closed, and the job succeeds, fails, or waits for another attempt.

Pure. Test: tests/controller/job/policies/test_attempt_ended.py.
"""

from dataclasses import replace

from controller.job.changes import exhaust, finish
from controller.job.failures import deleted_ending, ending_of, ray_job_state
from controller.job.pauses import SOON
from controller.job.situation import Plan, Situation
from controller.job.upkeep import releases
from finetune.api import attempts
from finetune.api.attempts import Ending
from finetune.api.conditions import Reason
from finetune.api.record import Result
from finetune.api.status import Attempt, AttemptOutcome, ConditionType


def attempt_ended(situation: Situation) -> Situation | Plan:
    """Close the attempt if it has ended, and decide what comes of the job."""
    attempt = situation.attempt
    ending = None if attempt is None else _ending(situation, attempt)
    if attempt is None or ending is None:
        return situation
    return _conclude(situation.do(*releases(situation)), attempt, ending).ends()


def _ending(situation: Situation, attempt: Attempt) -> Ending | None:
    """Return how the attempt ended, None if it has not."""
    ray_job, outcome, pods = situation.ray_job, situation.outcome, situation.observed.pods_of(attempt)
    if ray_job is None:
        if attempt.start_time is None or not situation.observed.kuberay_installed:
            return None
        return deleted_ending(attempt.ray_job_name, outcome, pods)
    if ray_job_state(ray_job).final:
        return ending_of(ray_job, outcome, pods)
    if outcome is not None and outcome.result is Result.INPUT_INVALID:
        # The driver knows that the input is at fault before KubeRay has noticed that the driver is gone.
        return Ending(AttemptOutcome.FAILED, outcome.reason, outcome.message)
    return None


def _conclude(situation: Situation, attempt: Attempt, ending: Ending) -> Situation:
    """Close the attempt with `ending`; the job succeeds, fails, or waits for another attempt."""
    ray_job = situation.ray_job
    situation = replace(situation, status=attempts.end(situation.status, ending, situation.now))
    if attempt.start_time is None and ray_job is not None:
        situation = situation.with_attempt(start_time=ray_job.created)
    if ending.outcome is AttemptOutcome.SUCCEEDED:
        message = ending.message or f"attempt {attempt.number} succeeded"
        return finish(situation, ConditionType.SUCCEEDED, Reason.SUCCEEDED, message)
    if not ending.retry:
        return finish(situation, ConditionType.FAILED, str(ending.reason), ending.message)
    if ending.charged and attempts.charged(situation.status) >= situation.job.max_attempts:
        return exhaust(situation, situation.last_attempt or attempt)
    message = f"attempt {attempt.number} ended ({ending.reason}); the next one resumes from the last checkpoint. {ending.message}"
    return situation.condition(ConditionType.RUNNING, "False", Reason.RETRYING, message).wake_in(SOON)
