"""Conditions, phase and columns."""

import time
from datetime import timedelta
from typing import Any

import pytest

from finetune.api.conditions import Reason, age, get_condition, phase, set_condition, shortened, summarize
from finetune.api.status import ConditionType, FineTuneJobStatus, MetricsStatus, Progress, ScoreStatus
from tests.controller.job.builders import NOW, attempt

LATER = NOW + timedelta(minutes=5)


def with_condition(status: FineTuneJobStatus, kind: ConditionType, value: Any, reason: str = "Reason", at: Any = NOW) -> FineTuneJobStatus:
    return set_condition(status, kind, value, reason, "words", generation=2, now=at)


def test_a_message_of_any_length_is_shortened_at_once() -> None:
    began = time.process_time()
    text = shortened("the first cause " + "password " * 300_000 + "HF_TOKEN=hf_abcdefghijklmnopqrst the last cause")
    assert time.process_time() - began < 1.0
    assert text.startswith("the first cause")
    assert text.endswith("HF_TOKEN=[redacted] the last cause")


def test_the_transition_time_moves_with_the_value_only() -> None:
    first = with_condition(FineTuneJobStatus(), ConditionType.RUNNING, "False", "Starting")
    same = with_condition(first, ConditionType.RUNNING, "False", "Retrying", LATER)
    moved = with_condition(same, ConditionType.RUNNING, "True", "TrainerRunning", LATER)
    times = [get_condition(status, ConditionType.RUNNING).last_transition_time for status in (first, same, moved)]  # type: ignore[union-attr]
    assert times == [NOW, NOW, LATER]


def test_conditions_stand_in_one_order_and_once_each() -> None:
    status = FineTuneJobStatus()
    for kind in (ConditionType.FAILED, ConditionType.RUNNING, ConditionType.ACCEPTED, ConditionType.RUNNING):
        status = with_condition(status, kind, "True")
    assert [condition.type for condition in status.conditions or []] == ["Accepted", "Running", "Failed"]


@pytest.mark.parametrize(
    ("conditions", "word"),
    [
        ([], "Pending"),
        ([("Accepted", "False", Reason.SPEC_INVALID)], "Invalid"),
        ([("Accepted", "False", Reason.REFERENCE_MISSING)], "Waiting"),
        ([("Accepted", "True", "Accepted"), ("Running", "False", Reason.STARTING)], "Starting"),
        ([("Queued", "True", "Pending"), ("Running", "False", Reason.QUEUED)], "Queued"),
        ([("Accepted", "False", Reason.REFERENCE_MISSING), ("Queued", "True", "Pending")], "Waiting"),
        ([("Queued", "True", "Pending"), ("Suspended", "True", Reason.SUSPENDED)], "Suspended"),
        ([("Queued", "False", Reason.KUEUE_MISSING), ("Running", "False", Reason.KUEUE_MISSING)], "Waiting"),
        ([("Queued", "False", Reason.ADMITTED), ("Running", "True", Reason.RUNNING)], "Running"),
        ([("Running", "True", Reason.RUNNING)], "Running"),
        ([("Running", "False", Reason.RETRYING)], "Retrying"),
        ([("Running", "False", Reason.CREATION_FAILED)], "Waiting"),
        ([("Running", "False", Reason.DELETION_FAILED)], "Waiting"),
        ([("Running", "True", Reason.DELETION_FAILED)], "Running"),
        ([("Accepted", "False", Reason.STATUS_UNREADABLE)], "Waiting"),
        ([("Running", "False", Reason.SUSPENDED), ("Suspended", "True", Reason.SUSPENDED)], "Suspended"),
        ([("Succeeded", "True", Reason.SUCCEEDED), ("Failed", "False", "No")], "Succeeded"),
        ([("Failed", "True", "Why"), ("Suspended", "True", "Too")], "Failed"),
    ],
)
def test_the_phase_is_one_word_for_all_conditions(conditions: list[tuple[str, str, str]], word: str) -> None:
    status = FineTuneJobStatus()
    for kind, value, reason in conditions:
        status = with_condition(status, ConditionType(kind), value, reason)
    assert phase(status) == word


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        (MetricsStatus(score=ScoreStatus(metric="perplexity", value="14.926", direction="lower", step=240)), "perplexity 14.93"),
        (MetricsStatus(score=ScoreStatus(metric="exactMatch", value="81.25", direction="higher", step=240)), "exactMatch 81.2"),
        (MetricsStatus(latest={"trainLoss": "2"}), None),
    ],
    ids=["lower", "higher", "not measured"],
)
def test_the_column_shows_the_newest_score_with_its_metric(metrics: MetricsStatus, shown: str | None) -> None:
    summary = summarize(FineTuneJobStatus(metrics=metrics, attempts=[attempt()]), generation=1, now=NOW).summary
    assert summary is not None
    assert summary.score == shown


def test_the_time_left_is_shown_while_it_runs_only() -> None:
    status = FineTuneJobStatus(progress=Progress(step=10, total_steps=40, percent=25, eta_seconds=300))
    running = summarize(with_condition(status, ConditionType.RUNNING, "True"), generation=1, now=NOW)
    over = summarize(with_condition(status, ConditionType.SUCCEEDED, "True"), generation=1, now=NOW)
    assert running.summary is not None
    assert over.summary is not None
    assert (running.summary.eta, over.summary.eta) == ("5m", None)
    assert (over.summary.step, over.summary.progress) == ("10/40", "25%")


@pytest.mark.parametrize(
    ("cursor", "eta"), [("2/bot-2-x/1", "5m"), ("1/bot-1-x/9", None), (None, None)], ids=["its own", "of the one before", "none"]
)
def test_the_time_left_is_shown_once_the_newest_attempt_has_reported(cursor: str | None, eta: str | None) -> None:
    progress = Progress(step=10, total_steps=40, percent=25, eta_seconds=300)
    status = FineTuneJobStatus(progress=progress, attempts=[attempt(1), attempt(2)], report_cursor=cursor)
    summary = summarize(with_condition(status, ConditionType.RUNNING, "True"), generation=1, now=NOW).summary
    assert summary is not None
    assert (summary.eta, summary.step) == (eta, "10/40")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (11100, "3h5m"), (86400, "1d"), (190800, "2d5h")],
)
def test_durations_read_like_ages(seconds: int, words: str) -> None:
    assert age(seconds) == words


def test_long_texts_keep_both_ends_and_lose_what_cannot_be_printed() -> None:
    text = shortened("start\x1b[31m" + "x" * 5000 + "end")
    assert text.startswith("start [31m")
    assert text.endswith("end")
    assert len(text) <= 2048
