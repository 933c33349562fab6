"""What comes of a job whose attempt has ended: success, failure, or another attempt.

Pure. Test: tests/controller/job/policies/test_attempt_ended.py, tests/controller/job/test_failurerules.py.
"""

from dataclasses import replace

from controller.job.changes import exhaust, finish
from controller.job.evidence import Evidence, explained
from controller.job.failurerules import judged
from controller.job.pauses import SOON
from controller.job.situation import Situation
from finetune.api import attempts
from finetune.api.attempts import Ending
from finetune.api.conditions import Reason
from finetune.api.status import Attempt, AttemptOutcome, ConditionType


def conclude(situation: Situation, attempt: Attempt, ending: Ending) -> Situation:
    """Close the attempt with `ending`, about which the job's failure rules may decide."""
    ray_job, rules = situation.ray_job, situation.job.run_policy.failure_rules or []
    evidence = Evidence.of(ending, attempt, situation.observed.pods_of(attempt))
    ending = judged(explained(ending, evidence), rules, evidence, freed=attempts.freed(situation.status))
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
