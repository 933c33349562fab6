"""Patches of the status and the events about it."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller.job.report import event_type, merge_patch, transitions
from finetune.api.conditions import set_condition
from finetune.api.status import ConditionType, FineTuneJobStatus
from tests.controller.job.builders import NOW

VALUES = st.recursive(
    st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=1), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("abc", min_size=1, max_size=1), VALUES, max_size=3)


def apply_patch(target: Any, patch: Any) -> Any:
    """Apply a merge patch as RFC 7386, section 2, writes it down."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = apply_patch(result.get(name), value)
    return result


@given(OBJECTS, OBJECTS)
def test_a_patch_turns_the_one_into_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert apply_patch(copy.deepcopy(before), merge_patch(before, after)) == after


@given(OBJECTS)
def test_equal_objects_need_no_patch(value: dict[str, Any]) -> None:
    assert merge_patch(value, copy.deepcopy(value)) == {}


def condition(status: FineTuneJobStatus, kind: ConditionType, value: Any, reason: str) -> FineTuneJobStatus:
    return set_condition(status, kind, value, reason, "words", generation=1, now=NOW)


def test_a_condition_whose_value_or_reason_changed_is_news() -> None:
    before = condition(FineTuneJobStatus(), ConditionType.RUNNING, "False", "Starting")
    assert transitions(before, condition(before, ConditionType.RUNNING, "False", "Starting")) == []
    for value, reason in (("True", "TrainerRunning"), ("False", "Retrying")):
        assert [c.reason for c in transitions(before, condition(before, ConditionType.RUNNING, value, reason))] == [reason]


def test_what_a_queue_does_is_told_once() -> None:
    before = condition(FineTuneJobStatus(), ConditionType.RUNNING, "False", "Starting")
    waits = condition(condition(before, ConditionType.QUEUED, "True", "Pending"), ConditionType.RUNNING, "False", "Queued")
    assert [(c.type, c.reason, event_type(c)) for c in transitions(before, waits)] == [("Queued", "Pending", "Normal")]
    evicted = condition(waits, ConditionType.QUEUED, "True", "Preempted")
    assert [(c.type, c.reason) for c in transitions(waits, evicted)] == [("Queued", "Preempted")]
    missing = condition(condition(before, ConditionType.QUEUED, "False", "KueueMissing"), ConditionType.RUNNING, "False", "KueueMissing")
    assert [(c.type, event_type(c)) for c in transitions(before, missing)] == [("Queued", "Warning")]


def test_that_a_ray_job_was_suspended_without_a_queue_is_told() -> None:
    before = condition(FineTuneJobStatus(), ConditionType.RUNNING, "False", "Starting")
    assert [c.type for c in transitions(before, condition(before, ConditionType.RUNNING, "False", "Queued"))] == ["Running"]


def test_that_a_job_which_failed_did_not_succeed_is_no_news() -> None:
    after = condition(FineTuneJobStatus(), ConditionType.FAILED, "True", "Why")
    after = condition(after, ConditionType.SUCCEEDED, "False", "Why")
    assert [c.type for c in transitions(FineTuneJobStatus(), after)] == ["Failed"]


def test_bad_news_are_warnings() -> None:
    status = condition(FineTuneJobStatus(), ConditionType.ACCEPTED, "False", "SpecInvalid")
    status = condition(status, ConditionType.RUNNING, "False", "Retrying")
    status = condition(status, ConditionType.SUSPENDED, "True", "Suspended")
    assert [event_type(c) for c in status.conditions or []] == ["Warning", "Warning", "Normal"]
