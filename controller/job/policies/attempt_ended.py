"""Policy: an attempt whose RayJob is final or gone is closed, and the job succeeds, fails, or waits for another attempt.

Pure. Test: tests/controller/job/policies/test_attempt_ended.py.
"""

from controller.job.conclude import conclude
from controller.job.failures import deleted_ending, ending_of, ray_job_state
from controller.job.kuberay import were_away
from controller.job.situation import Plan, Situation
from controller.job.upkeep import releases
from finetune.api.attempts import Ending
from finetune.api.record import Result
from finetune.api.status import Attempt, AttemptOutcome


def attempt_ended(situation: Situation) -> Situation | Plan:
    """Close the attempt if it has ended, and decide what comes of the job."""
    attempt = situation.attempt
    ending = None if attempt is None else _ending(situation, attempt)
    if attempt is None or ending is None:
        return situation
    return conclude(situation.do(*releases(situation)), attempt, ending).ends()


def _ending(situation: Situation, attempt: Attempt) -> Ending | None:
    """Return how the attempt ended, None if it has not."""
    ray_job, outcome, pods = situation.ray_job, situation.outcome, situation.observed.pods_of(attempt)
    if ray_job is None:
        if attempt.start_time is None or not situation.observed.kuberay_installed:
            return None
        return deleted_ending(attempt.ray_job_name, outcome, pods, with_kuberay=were_away(situation.status))
    if ray_job_state(ray_job).final:
        return ending_of(ray_job, outcome, pods)
    if outcome is not None and outcome.result is Result.INPUT_INVALID:
        # The driver knows that the input is at fault before KubeRay has noticed that the driver is gone.
        return Ending(AttemptOutcome.FAILED, outcome.reason, outcome.message)
    return None
