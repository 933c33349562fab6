"""What the conditions say when the controller could not do, or not even see, what it had to.

A creation that is refused is not reported here: it is tried again by controller.job.retries, which says when. Pure.
Test: tests/controller/job/test_setbacks.py.
"""

from datetime import datetime
from typing import Literal, assert_never

from controller.job.facts import Job
from controller.job.situation import Action, AskToStop, CreateAttempt, Delete, ReleaseProgress, RestoreSupports
from controller.job.verdict import verdict_on
from controller.runtime.errors import KubeError, RetryableError
from finetune.api.conditions import Reason, get_condition, set_condition, summarize
from finetune.api.status import ConditionType, FineTuneJobStatus


def after_failure(job: Job, status: FineTuneJobStatus, action: Action, error: KubeError, now: datetime) -> FineTuneJobStatus:
    """Return the status that reports an action that failed, unless a retry alone will fix it."""
    if isinstance(error, RetryableError):
        return status
    words = str(error)
    match action:
        case CreateAttempt():
            return _with(job, status, ConditionType.RUNNING, Reason.CREATION_FAILED, words, now, value="False")
        case RestoreSupports() | ReleaseProgress() | AskToStop():
            return _with(job, status, ConditionType.REPORTING, Reason.CREATION_FAILED, words, now, value="False")
        case Delete():
            return _not_deleted(job, status, words, now)
        case _:
            assert_never(action)


def unobserved(job: Job, error: KubeError, now: datetime) -> FineTuneJobStatus:
    """Return the status that reports that the job's state could not be read, unless a retry alone will fix it.

    What runs goes on, and an end stays one: only that nothing is decided until it can be read is new.
    """
    if isinstance(error, RetryableError) or job.deleting or verdict_on(job.status) is not None:
        return job.status
    words = f"the controller cannot read what it must know to go on; the job goes on by itself once it can: {error}"
    return _with(job, job.status, ConditionType.RUNNING, Reason.OBSERVATION_FAILED, words, now)


def _not_deleted(job: Job, status: FineTuneJobStatus, words: str, now: datetime) -> FineTuneJobStatus:
    running = get_condition(status, ConditionType.RUNNING)
    if running is not None and running.reason == Reason.KUBERAY_UNSAFE:
        words = f"{running.message}; it is still running because it could not be deleted: {words}"
        return _with(job, status, ConditionType.RUNNING, Reason.KUBERAY_UNSAFE, words, now, value="False")
    return _with(job, status, ConditionType.RUNNING, Reason.DELETION_FAILED, words, now)


def _with(
    job: Job,
    status: FineTuneJobStatus,
    kind: ConditionType,
    reason: str,
    words: str,
    now: datetime,
    *,
    value: Literal["True", "False"] | None = None,
) -> FineTuneJobStatus:
    """Return the status with the condition set; without a `value`, it stays as true or false as it was."""
    before = get_condition(status, kind)
    if value is None:
        value = "True" if before is not None and before.status == "True" else "False"
    status = set_condition(status, kind, value, reason, words, generation=job.generation, now=now)
    return summarize(status, generation=job.generation, now=now)
