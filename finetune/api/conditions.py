"""Conditions of a FineTuneJob: their reasons, how one is set, and what `kubectl get` makes of all of them.

Pure. Test: tests/finetune/api/test_conditions.py.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from finetune.api.cursor import Cursor
from finetune.api.metrics import METRICS
from finetune.api.status import Condition, ConditionType, FineTuneJobStatus, Progress, Summary
from finetune.system.redaction import redact

MESSAGE_MAX_LENGTH = 2048
SEEN_MAX_LENGTH = 32 * 1024
"""More of a text than its two ends is not looked at."""


class Reason(StrEnum):
    """Reasons of conditions. A job that failed has the reason of its last attempt instead: the trainer's, KubeRay's or the controller's."""

    ACCEPTED = "Accepted"
    SPEC_INVALID = "SpecInvalid"
    STATUS_UNREADABLE = "StatusUnreadable"
    REFERENCE_MISSING = "ReferenceMissing"
    EARLIER_JOB_NOT_READY = "EarlierJobNotReady"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a reason, not a secret
    KUBERAY_MISSING = "KubeRayMissing"
    CREATION_FAILED = "CreationFailed"
    NAME_TAKEN = "NameTaken"
    QUOTA_EXCEEDED = "QuotaExceeded"
    KUBERAY_UNSAFE = "KubeRayUnsafe"
    DELETION_FAILED = "DeletionFailed"
    OBSERVATION_FAILED = "ObservationFailed"
    STARTING = "Starting"
    RUNNING = "TrainerRunning"
    RETRYING = "Retrying"
    WAITING_FOR_PODS = "WaitingForPods"
    SUSPENDED = "Suspended"
    STOPPING = "Stopping"
    RESUMED = "Resumed"
    FINISHED = "Finished"
    REPORTING = "Reporting"
    SUPPORTS_RESTORED = "DeletedAndRestored"
    PROGRESS_IMMUTABLE = "ProgressImmutable"
    PROGRESS_ALTERED = "ProgressAltered"
    CHECKPOINT_PUBLISHED = "CheckpointPublished"
    SUCCEEDED = "TrainingSucceeded"
    ATTEMPTS_EXHAUSTED = "AttemptsExhausted"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    PENDING_DEADLINE_EXCEEDED = "PendingDeadlineExceeded"
    QUEUED = "Queued"
    KUEUE_MISSING = "KueueMissing"
    WORKLOAD_MISSING = "WorkloadMissing"
    DEACTIVATED = "Deactivated"
    INADMISSIBLE = "Inadmissible"
    ADMITTED = "Admitted"
    STALLED = "Stalled"
    REPORTS_AGAIN = "ReportsAgain"


WAITING = frozenset(
    {
        Reason.CREATION_FAILED,
        Reason.NAME_TAKEN,
        Reason.QUOTA_EXCEEDED,
        Reason.KUBERAY_UNSAFE,
        Reason.DELETION_FAILED,
        Reason.OBSERVATION_FAILED,
        Reason.QUEUED,
        Reason.KUEUE_MISSING,
        Reason.WORKLOAD_MISSING,
        Reason.DEACTIVATED,
        Reason.INADMISSIBLE,
    }
)
"""Why a job does not run although nothing is wrong with it: somebody else must do something first."""


class Phase(StrEnum):
    """One word for all conditions."""

    PENDING = "Pending"
    INVALID = "Invalid"
    WAITING = "Waiting"
    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    RETRYING = "Retrying"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


def get_condition(status: FineTuneJobStatus, kind: ConditionType) -> Condition | None:
    """Return the condition of this type, None if it was never set."""
    return next((condition for condition in status.conditions or [] if condition.type == kind), None)


def is_true(status: FineTuneJobStatus, kind: ConditionType) -> bool:
    """Return whether the condition of this type is True."""
    condition = get_condition(status, kind)
    return condition is not None and condition.status == "True"


def set_condition(
    status: FineTuneJobStatus,
    kind: ConditionType,
    value: Literal["True", "False"],
    reason: str,
    message: str,
    *,
    generation: int | None,
    now: datetime,
) -> FineTuneJobStatus:
    """Return the status with this condition; its transition time moves only when `value` changes."""
    before = get_condition(status, kind)
    unchanged = before is not None and before.status == value
    condition = Condition(
        type=kind,
        status=value,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before is not None and unchanged else now,
        reason=reason,
        message=shortened(message),
    )
    others = [other for other in status.conditions or [] if other.type != kind]
    order = list(ConditionType)
    ordered = sorted([*others, condition], key=lambda c: order.index(ConditionType(c.type)) if c.type in order else len(order))
    return status.model_copy(update={"conditions": ordered})


def shortened(text: str, length: int = MESSAGE_MAX_LENGTH) -> str:
    """Return printable text of at most `length` characters without tokens, cut in the middle: causes are at the ends."""
    text = redact(_cut(text, SEEN_MAX_LENGTH))  # before the last cut: half a token would not be recognized
    text = "".join(character if character.isprintable() or character == "\n" else " " for character in text).strip()
    return _cut(text, length)


def _cut(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    head = length // 3
    return f"{text[:head]} … {text[-(length - head - 3) :]}"


def summarize(status: FineTuneJobStatus, *, generation: int | None, now: datetime) -> FineTuneJobStatus:
    """Return the status with what is computed from the rest of it: CheckpointAvailable, phase and the printer columns."""
    verified = [checkpoint for checkpoint in status.checkpoints or [] if checkpoint.verified]
    if verified:
        newest = max(verified, key=lambda checkpoint: checkpoint.step)
        message = f"step {newest.step} of attempt {newest.attempt} is at {newest.uri}"
        reason = Reason.CHECKPOINT_PUBLISHED
        status = set_condition(status, ConditionType.CHECKPOINT_AVAILABLE, "True", reason, message, generation=generation, now=now)
    return status.model_copy(update={"phase": phase(status).value, "summary": _summary(status), "observed_generation": generation})


def phase(status: FineTuneJobStatus) -> Phase:
    """Return the word for the printer column."""
    accepted, running = get_condition(status, ConditionType.ACCEPTED), get_condition(status, ConditionType.RUNNING)
    if is_true(status, ConditionType.SUCCEEDED):
        return Phase.SUCCEEDED
    if is_true(status, ConditionType.FAILED):
        return Phase.FAILED
    if is_true(status, ConditionType.SUSPENDED):
        return Phase.SUSPENDED
    if accepted is not None and accepted.status == "False":
        return Phase.INVALID if accepted.reason == Reason.SPEC_INVALID else Phase.WAITING
    if is_true(status, ConditionType.QUEUED):
        return Phase.QUEUED
    if running is None:
        return Phase.PENDING
    if running.status == "True":
        return Phase.RUNNING
    if running.reason in WAITING:
        return Phase.WAITING
    return Phase.RETRYING if running.reason == Reason.RETRYING else Phase.STARTING


def _summary(status: FineTuneJobStatus) -> Summary | None:
    progress = status.progress or Progress()
    attempt = status.attempts[-1].number if status.attempts else None
    cursor = Cursor.parse(status.report_cursor)
    # Until an attempt reports, the figures are those that the one before reached; how long it would have taken concerns nobody.
    timed = phase(status) is Phase.RUNNING and (attempt is None or (cursor is not None and cursor.attempt == attempt))
    score, reason = _score(status), why_not_running(status)
    if attempt is None and score is None and reason is None and progress == Progress():
        return None
    return Summary(
        step=None if progress.step is None else f"{progress.step}/{progress.total_steps}" if progress.total_steps else str(progress.step),
        progress=None if progress.percent is None else f"{progress.percent}%",
        eta=None if progress.eta_seconds is None or not timed else age(progress.eta_seconds),
        score=score,
        attempt=attempt,
        reason=reason,
    )


def why_not_running(status: FineTuneJobStatus) -> str | None:
    """Return the reason of the condition that keeps a job from running or getting on; None if nothing does, or nothing is known."""
    keeps = (
        (ConditionType.FAILED, "True"),
        (ConditionType.SUSPENDED, "True"),
        (ConditionType.STALLED, "True"),
        (ConditionType.ACCEPTED, "False"),
        (ConditionType.QUEUED, "True"),
    )
    for kind, value in keeps:
        condition = get_condition(status, kind)
        if condition is not None and condition.status == value:
            return condition.reason
    running = get_condition(status, ConditionType.RUNNING)
    return None if running is None or running.status == "True" or is_true(status, ConditionType.SUCCEEDED) else running.reason


def _score(status: FineTuneJobStatus) -> str | None:
    """Return the newest score as the column shows it: perplexity 14.93."""
    score = status.metrics.score if status.metrics is not None else None
    return None if score is None else METRICS[score.metric].named(float(score.value))


def age(seconds: int) -> str:
    """Return a duration as kubectl writes ages: 45s, 12m, 3h5m, 2d4h."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{minutes}m"
    if days < 1:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
