"""status.json records each start as an attempt, and how it ended."""

from datetime import timedelta

import pytest

from finetune.api.conditions import is_true
from finetune.api.record import Outcome, Result, Stage
from finetune.api.status import ConditionType, FineTuneJobStatus
from finetune.cli.local.status import begin, take
from tests.finetune.cli.records import NOON, checkpoint, record

STARTED = begin(FineTuneJobStatus(), "bot", NOON)


def ended(result: Result) -> FineTuneJobStatus:
    outcome = Outcome(result=result, reason="SomeReason", message="in words")
    return take(STARTED, record(Stage.FINISHED, step=4, checkpoints=[checkpoint(4)], outcome=outcome))


def test_a_run_that_has_begun_is_running() -> None:
    assert STARTED.phase == "Running"
    assert STARTED.attempts
    assert (STARTED.attempts[0].number, STARTED.attempts[0].start_time) == (1, NOON)


def test_figures_are_taken_over() -> None:
    status = take(STARTED, record(step=4, resumed_from_step=2))
    assert status.progress
    assert (status.progress.step, status.progress.percent) == (4, 40)
    assert status.attempts
    assert (status.attempts[0].last_step, status.attempts[0].resumed_from_step) == (4, 2)


@pytest.mark.parametrize(
    ("result", "phase", "outcome"),
    [
        (Result.SUCCEEDED, "Succeeded", "Succeeded"),
        (Result.FAILED, "Failed", "Failed"),
        (Result.INPUT_INVALID, "Failed", "Failed"),
        (Result.INTERRUPTED, "Suspended", "Interrupted"),
    ],
)
def test_the_end_is_recorded(result: Result, phase: str, outcome: str) -> None:
    status = ended(result)
    assert status.attempts
    assert (status.phase, status.attempts[0].outcome, status.attempts[0].end_time) == (phase, outcome, NOON)


def test_a_verified_checkpoint_is_a_condition() -> None:
    assert is_true(ended(Result.INTERRUPTED), ConditionType.CHECKPOINT_AVAILABLE)


def test_a_second_start_is_a_second_attempt_and_closes_one_that_was_killed() -> None:
    later = NOON + timedelta(hours=1)
    again = begin(take(STARTED, record(step=4, checkpoints=[checkpoint(4)])), "bot", later)
    assert again.attempts
    assert [(attempt.number, attempt.outcome, attempt.reason) for attempt in again.attempts] == [(1, "Failed", "Killed"), (2, None, None)]
    assert again.attempts[0].end_time == NOON
    assert again.checkpoints
    assert again.phase == "Running"


@pytest.mark.parametrize(
    ("result", "kind"),
    [(Result.FAILED, ConditionType.FAILED), (Result.INTERRUPTED, ConditionType.SUSPENDED)],
    ids=["failed", "interrupted"],
)
def test_the_end_of_the_last_start_is_not_that_of_this_one(result: Result, kind: ConditionType) -> None:
    before = ended(result)
    assert is_true(before, kind)
    again = begin(before, "bot", NOON)
    assert not is_true(again, kind)
    assert again.phase == "Running"


def test_the_status_survives_its_way_through_the_file() -> None:
    status = ended(Result.SUCCEEDED)
    assert FineTuneJobStatus.model_validate(status.to_wire()) == status
