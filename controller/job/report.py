"""What changed in a job's status: the patch that writes it, and the condition transitions, which become events.

Pure. Test: tests/controller/job/test_report.py.
"""

from collections.abc import Mapping
from typing import Any, Literal

from finetune.api.conditions import Reason, get_condition
from finetune.api.status import Condition, ConditionType, FineTuneJobStatus

BAD_NEWS = {
    (ConditionType.ACCEPTED, "False"),
    (ConditionType.FAILED, "True"),
    (ConditionType.REPORTING, "False"),
    (ConditionType.STALLED, "True"),
}
BAD_REASONS = {
    Reason.RETRYING,
    Reason.KUBERAY_UNSAFE,
    Reason.PROGRESS_ALTERED,
    Reason.SUPPORTS_RESTORED,
    Reason.OBSERVATION_FAILED,
    Reason.KUEUE_MISSING,
    Reason.WORKLOAD_MISSING,
    Reason.DEACTIVATED,
    Reason.INADMISSIBLE,
}
OF_QUEUES = (Reason.QUEUED, Reason.KUEUE_MISSING, Reason.WORKLOAD_MISSING, Reason.DEACTIVATED, Reason.INADMISSIBLE)


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON merge patch (RFC 7386) that turns `before` into `after`; empty when they are equal."""
    patch: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            inner = merge_patch(old, value)
            if inner:
                patch[name] = inner
        elif old != value:
            patch[name] = value
    return patch


def transitions(before: FineTuneJobStatus, after: FineTuneJobStatus) -> list[Condition]:
    """Return the conditions whose status or reason changed, but not the False one of Succeeded and Failed, which are set together,
    nor Running where Queued says the same.

    That a new job was accepted and is starting is what everybody expects, and its status says so.
    """
    if not before.conditions:
        return [condition for condition in _changed(before, after) if event_type(condition) == "Warning"]
    return _changed(before, after)


def _changed(before: FineTuneJobStatus, after: FineTuneJobStatus) -> list[Condition]:
    moved, queued = [], get_condition(after, ConditionType.QUEUED)
    for condition in after.conditions or []:
        old = get_condition(before, ConditionType(condition.type)) if condition.type in list(ConditionType) else None
        silent = old is None and condition.status == "False" and condition.type in (ConditionType.SUCCEEDED, ConditionType.FAILED)
        silent |= condition.type == ConditionType.RUNNING and condition.reason in OF_QUEUES and queued is not None
        if not silent and (old is None or (old.status, old.reason) != (condition.status, condition.reason)):
            moved.append(condition)
    return moved


def event_type(condition: Condition) -> Literal["Normal", "Warning"]:
    """Return the type of an event about the condition."""
    bad = (condition.type, condition.status) in BAD_NEWS or condition.reason in BAD_REASONS
    return "Warning" if bad else "Normal"
