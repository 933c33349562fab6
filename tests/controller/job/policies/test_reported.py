"""What the trainer reports reaches the status, if it is of this attempt, new, and due."""

from datetime import timedelta
from typing import Any

import pytest

from finetune.api.status import ConditionType, Progress
from tests.controller.job.builders import NOW, attempt, checkpoint, job, observed, ray_job, record_text, status
from tests.controller.job.decisions import condition, decide, last_attempt


def test_a_report_reaches_the_status_and_the_columns() -> None:
    score = {"metric": "perplexity", "value": 9.81, "direction": "lower", "step": 20}
    text = record_text(metrics={"baseline": {"perplexity": 18.4}, "score": score}, checkpoints=[checkpoint(20)])
    decision = decide(observed(job(status=status(attempt())), ray_job(), record=text))
    summary = decision.status.summary
    assert summary is not None
    assert (summary.step, summary.progress, summary.eta, summary.score, summary.attempt) == ("20/80", "25%", "1m", "perplexity 9.81", 1)
    assert condition(decision, ConditionType.CHECKPOINT_AVAILABLE).status == "True"
    assert last_attempt(decision).last_step == 20


@pytest.mark.parametrize(
    "fields",
    [{"attempt": 2}, {"cluster": "bot-1-older"}, {"sequence": 2}],
    ids=["another attempt", "another cluster of the attempt", "an older one"],
)
def test_a_report_of_a_predecessor_changes_nothing(fields: dict[str, Any]) -> None:
    known = status(attempt(), report_cursor="1/bot-1-x7k2p/3")
    with_report = decide(observed(job(status=known), ray_job(), record=record_text(**fields)))
    without = decide(observed(job(status=known), ray_job()))
    assert with_report.status == without.status


def test_a_report_that_cannot_be_read_is_noted_and_changes_nothing() -> None:
    decision = decide(observed(job(status=status(attempt())), ray_job(), record="{"))
    assert decision.status.progress is None
    [refused] = decision.refused
    assert (refused.reason, refused.source) == ("Unreadable", "attempt 1")
    assert "not readable" in refused.words


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"attempt": 2}, "OtherAttempt"), ({"cluster": "bot-1-older"}, "OtherCluster"), ({"sequence": 2}, "LowerSequence")],
)
def test_a_report_that_is_refused_says_why_and_decides_nothing(fields: dict[str, Any], reason: str) -> None:
    """Not even that the trainer has ended."""
    known = status(attempt(), report_cursor="1/bot-1-x7k2p/3")
    outcome = {"result": "InputInvalid", "reason": "DataInvalid", "message": "x"}
    decision = decide(observed(job(status=known), ray_job(), record=record_text(outcome=outcome, **fields)))
    assert [refused.reason for refused in decision.refused] == [reason]
    assert last_attempt(decision).outcome is None


def test_the_report_that_was_taken_over_last_is_not_refused_when_it_is_seen_again() -> None:
    decision = decide(observed(job(status=status(attempt(), report_cursor="1/bot-1-x7k2p/3")), ray_job(), record=record_text()))
    assert decision.refused == ()


def test_reports_wait_for_their_turn_and_are_looked_at_when_it_comes() -> None:
    known = status(attempt(), report_cursor="1/bot-1-x7k2p/2", progress=Progress(step=10, last_report_time=NOW - timedelta(seconds=5)))
    decision = decide(observed(job(status=known), ray_job(), record=record_text()))
    assert decision.status.progress == known.progress
    assert decision.requeue_after == 10


@pytest.mark.parametrize(
    "news",
    [{"checkpoints": [checkpoint(20)]}, {"outcome": {"result": "Failed", "reason": "OutOfMemory", "message": "no memory"}}],
    ids=["checkpoint", "end"],
)
def test_checkpoints_and_the_end_do_not_wait(news: dict[str, Any]) -> None:
    known = status(attempt(), report_cursor="1/bot-1-x7k2p/2", progress=Progress(step=10, last_report_time=NOW - timedelta(seconds=5)))
    decision = decide(observed(job(status=known), ray_job(), record=record_text(**news)))
    assert decision.status.progress is not None
    assert decision.status.progress.step == 20
