"""Progress records: what is taken from them, and which are refused."""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.api.cursor import Cursor
from finetune.api.folding import RecordError, fold, is_news, number, parse, wait_before_taking
from finetune.api.record import RECORD_MAX_BYTES, WARNING_MAX_LENGTH
from finetune.api.status import FineTuneJobStatus, Progress, ScoreStatus
from tests.controller.job.builders import NOW, attempt, checkpoint, record, record_text, status


def test_figures_become_the_status_form() -> None:
    folded = fold(status(attempt()), record(resumedFromStep=10), NOW)
    assert folded.progress == Progress(
        stage="Training", step=20, total_steps=80, epoch="0.25", percent=25, tokens_seen=4096, tokens_per_second="512.25", eta_seconds=61,
        last_report_time=NOW,
    )  # fmt: skip
    assert folded.attempts is not None
    assert (folded.attempts[-1].last_step, folded.attempts[-1].resumed_from_step) == (20, 10)
    assert folded.report_cursor == "1/bot-1-x7k2p/3"


def test_steps_of_a_further_run_are_shown_under_its_name_and_are_not_the_attempts() -> None:
    own = fold(status(attempt()), record(resumedFromStep=0), NOW)
    beside = {"step": 3, "totalSteps": 0, "epoch": 0.1, "tokensSeen": 5, "run": "ablation dropout"}
    folded = fold(own, record(sequence=4, progress=beside), NOW)
    assert folded.progress is not None
    assert (folded.progress.run, folded.progress.step, folded.progress.percent) == ("ablation dropout", 3, None)
    assert folded.attempts is not None
    assert folded.attempts[-1].last_step == 20
    assert fold(folded, record(sequence=5), NOW).progress == own.progress


def running_at(rate: float | None, run: str | None = None) -> dict[str, Any]:
    return {"step": 20, "totalSteps": 80, "epoch": 0.25, "tokensSeen": 4096, "tokensPerSecond": rate, "run": run}


def speeds(*rates: float) -> tuple[str | None, int | None]:
    """Return the attempt's highest rate, and by how much the job is slower, after it has reported these."""
    found = status(attempt())
    for sequence, rate in enumerate(rates, start=1):
        found = fold(found, record(sequence=sequence, progress=running_at(rate)), NOW)
    assert found.attempts is not None
    assert found.progress is not None
    return found.attempts[-1].peak_tokens_per_second, found.progress.slower_percent


@pytest.mark.parametrize(
    ("rates", "peak", "slower"),
    [
        ([1000], "1000", None),
        ([1000, 760], "1000", None),
        ([1000, 750], "1000", 25),
        ([1000, 100], "1000", 90),
        ([1000, 100, 1200], "1200", None),
        ([0], None, None),
        ([math.inf], None, None),
    ],
)
def test_a_rate_far_below_the_highest_before_is_told(rates: list[float], peak: str | None, slower: int | None) -> None:
    assert speeds(*rates) == (peak, slower)


def test_an_attempt_is_compared_with_those_before_it() -> None:
    before = fold(status(attempt()), record(progress=running_at(1000)), NOW)
    assert before.attempts is not None
    second = before.model_copy(update={"attempts": [*before.attempts, attempt(2)]})
    folded = fold(second, record(sequence=1, attempt=2, progress=running_at(400)), NOW)
    assert folded.progress is not None
    assert folded.attempts is not None
    assert folded.progress.slower_percent == 60
    assert [each.peak_tokens_per_second for each in folded.attempts] == ["1000", "400"]


def test_another_run_of_the_job_and_other_stages_have_no_rate_to_compare() -> None:
    fast = fold(status(attempt()), record(progress=running_at(1000)), NOW)
    slower = fold(fast, record(sequence=3, progress=running_at(100)), NOW)
    assert slower.progress is not None
    assert slower.progress.slower_percent == 90
    for progress, stage in (
        (running_at(10, run="ablation dropout"), "Training"),
        (None, "EvaluatingFinal"),
        (running_at(100), "Exporting"),
        (running_at(2000), "Exporting"),
    ):
        slow = fold(slower, record(sequence=4, progress=progress, stage=stage), NOW)
        assert slow.progress is not None
        assert slow.attempts is not None
        assert slow.progress.slower_percent is None
        assert slow.attempts[-1].peak_tokens_per_second == "1000"


def test_a_laptop_run_without_attempts_is_folded_with_the_records_own_time() -> None:
    folded = fold(FineTuneJobStatus(), record(cluster=""))
    assert folded.attempts is None
    assert folded.progress is not None
    assert folded.progress.last_report_time == NOW


def test_the_gap_between_training_and_validation_rows_is_in_the_status_and_stays_there() -> None:
    found = {"step": 20, "trainLoss": 0.0752, "validationLoss": 0.4906, "gap": 0.4154}
    first = fold(status(attempt()), record(metrics={"generalization": found}))
    second = fold(first, record(sequence=4))

    for folded in (first, second):
        assert folded.metrics is not None
        assert folded.metrics.generalization is not None
        wanted = {"step": 20, "trainLoss": "0.0752", "validationLoss": "0.4906", "gap": "0.4154"}
        assert folded.metrics.generalization.to_wire() == wanted


def test_the_figures_of_general_texts_and_the_budget_are_in_the_status_and_stay_there() -> None:
    found = {"generalPerplexity": 21.23456, "generalIncreasePercent": 4.321987, "withinBudget": True}
    reported = [checkpoint(20, withinBudget=True), checkpoint(40, withinBudget=False)]
    first = fold(status(attempt()), record(metrics={"adaptation": found}, checkpoints=reported))
    second = fold(first, record(sequence=4))

    for folded in (first, second):
        assert folded.metrics is not None
        assert folded.metrics.adaptation is not None
        wanted = {"generalPerplexity": "21.235", "generalIncreasePercent": "4.322", "withinBudget": True}
        assert folded.metrics.adaptation.to_wire() == wanted
        assert [one.within_budget for one in folded.checkpoints or []] == [True, False]


def test_what_a_record_leaves_out_stays() -> None:
    first = fold(
        status(attempt()),
        record(
            metrics={"baseline": {"perplexity": 18.42}, "best": score(9.64, 240)},
            checkpoints=[checkpoint(20)],
            model={"name": "m", "source": "hub", "precision": "bfloat16", "digest": "sha256:0"},
            output={"uri": "pvc://models/x"},
            warnings=["12 rows are cut"],
        ),
    )
    second = fold(first, record(sequence=4, progress=None, stage="Exporting", metrics={"final": {"bleu": 31.2}}))
    assert second.metrics is not None
    assert second.metrics.baseline == {"perplexity": "18.42"}
    assert second.metrics.final == {"bleu": "31.2"}
    assert second.metrics.compared is None
    compared = {"bleu": {"interval": [29.0, 33.0], "verdict": "better", "rows": 72}}
    third = fold(second, record(sequence=5, metrics={"baseline": {"bleu": 3.1}, "final": {"bleu": 31.2}, "compared": compared}))
    assert third.metrics.compared == {"bleu": "3.1 → 31.2 [29.0, 33.0], better, 72 rows"}
    assert fold(third, record(sequence=6)).metrics.compared == third.metrics.compared
    assert (second.checkpoints, second.model, second.output, second.warnings) == (
        first.checkpoints,
        first.model,
        first.output,
        first.warnings,
    )
    assert second.progress is not None
    assert (second.progress.stage, second.progress.step) == ("Exporting", 20)


def test_checkpoints_are_one_per_step_in_order_as_reported_last() -> None:
    reported = [checkpoint(40), checkpoint(20, score=score(12.0, 20)), checkpoint(20, score=score(11.5, 20), best=True)]
    folded = fold(FineTuneJobStatus(), record(checkpoints=reported))
    assert [(c.step, c.score and c.score.value, c.best) for c in folded.checkpoints or []] == [(20, "11.5", True), (40, None, False)]


@pytest.mark.parametrize("name", ["rougeX", "<script>", "", "Perplexity"])
@pytest.mark.parametrize("where", ["baseline", "latest", "final"])
def test_a_record_with_a_metric_that_nobody_knows_is_refused(where: str, name: str) -> None:
    with pytest.raises(RecordError, match=f"metrics.{where}"):
        parse(json.dumps(json.loads(record_text()) | {"metrics": {where: {"perplexity": 2.0, name: 1.0}}}))


@pytest.mark.parametrize(
    "wrong",
    [{"metric": "rougeX"}, {"direction": "higher"}, {"value": float("inf")}, {"value": None}],
    ids=["metric", "direction", "infinite", "none"],
)
def test_a_record_with_a_score_that_cannot_be_compared_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match=r"metrics\.best"):
        parse(json.dumps(json.loads(record_text()) | {"metrics": {"best": score(2.0, 3) | wrong}}))


def test_scores_reach_the_status_with_metric_and_direction() -> None:
    first = fold(FineTuneJobStatus(), record(metrics={"score": score(18.42, 0)}))
    second = fold(first, record(sequence=4, metrics={"best": score(9.64321, 240)}))
    assert second.metrics is not None
    assert second.metrics.best == ScoreStatus(metric="perplexity", value="9.6432", direction="lower", step=240)
    assert second.metrics.score == ScoreStatus(metric="perplexity", value="18.42", direction="lower", step=0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9.8123456, "9.8123"),
        (18.42, "18.42"),
        (0.0001234567, "0.00012346"),
        (51200.4, "51200"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_texts_with_the_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not readable"),
        ("[]", "not readable"),
        ('{"attempt": 1}', "sequence"),
        (json.dumps({"attempt": 1, "sequence": 1, "time": "2026-03-01T12:00:00Z", "stage": "Training", "secret": 1}), "secret"),
        (record_text()[:-1] + ', "cluster2": "' + "x" * RECORD_MAX_BYTES + '"}', "over the limit"),
    ],
    ids=["empty", "no object", "incomplete", "unknown member", "too large"],
)
def test_what_is_no_record_is_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(RecordError, match=says):
        parse(text)


def score(value: float, step: int) -> dict[str, Any]:
    return {"metric": "perplexity", "value": value, "direction": "lower", "step": step}


FIGURES = {"step": 20, "totalSteps": 80, "epoch": 0.25, "tokensSeen": 4096}
MODEL = {"name": "m", "source": "hub", "precision": "bfloat16", "digest": "sha256:0"}


@pytest.mark.parametrize("value", [10**30, -(10**30), 2**53 + 1, -1])
@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("attempt", lambda value: {"attempt": value}),
        ("sequence", lambda value: {"sequence": value}),
        ("resumedFromStep", lambda value: {"resumedFromStep": value}),
        ("step", lambda value: {"progress": FIGURES | {"step": value}}),
        ("totalSteps", lambda value: {"progress": FIGURES | {"totalSteps": value}}),
        ("tokensSeen", lambda value: {"progress": FIGURES | {"tokensSeen": value}}),
        ("metrics.best.step", lambda value: {"metrics": {"best": score(2.0, value)}}),
        ("checkpoints.0.step", lambda value: {"checkpoints": [checkpoint(value)]}),
        ("checkpoints.0.sizeBytes", lambda value: {"checkpoints": [checkpoint(20, sizeBytes=value)]}),
        ("checkpoints.0.attempt", lambda value: {"checkpoints": [checkpoint(20, attempt=value)]}),
        ("model.parameters", lambda value: {"model": MODEL | {"parameters": value}}),
    ],
)
def test_a_number_that_the_status_cannot_hold_is_refused(name: str, section: Callable[[int], dict[str, Any]], value: int) -> None:
    text = json.dumps(json.loads(record_text()) | section(value), default=datetime.isoformat)
    with pytest.raises(RecordError, match=name):
        parse(text)


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("time", {"time": "2026-03-01T12:00:00"}),
        ("createdTime", {"checkpoints": [checkpoint(20, createdTime="2026-03-01T12:00:00")]}),
    ],
)
def test_a_time_without_an_offset_is_refused(name: str, section: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match=name):
        parse(json.dumps(json.loads(record_text()) | section))


@settings(deadline=None)
@given(st.text(max_size=200) | st.dictionaries(st.text(max_size=10), st.integers() | st.text(max_size=10)).map(json.dumps))
def test_whatever_a_pod_writes_the_reader_answers_with_a_record_or_a_refusal(text: str) -> None:
    with suppress(RecordError):
        assert parse(text).sequence >= 1


@settings(deadline=None)  # a busy machine may pause anywhere
@given(
    step=st.integers(0, 10**9),
    total=st.integers(0, 10**9),
    epoch=st.floats(0, 1e9),
    rate=st.none() | st.floats(allow_nan=True, allow_infinity=True),
    eta=st.none() | st.floats(allow_nan=True, allow_infinity=True),
    perplexity=st.floats(allow_nan=True, allow_infinity=True),
)
def test_any_figures_fold_into_a_status_that_can_be_written(
    step: int, total: int, epoch: float, rate: float | None, eta: float | None, perplexity: float
) -> None:
    figures = {"step": step, "totalSteps": total, "epoch": epoch, "tokensSeen": step, "tokensPerSecond": rate, "etaSeconds": eta}
    folded = fold(status(attempt()), record(progress=figures, metrics={"latest": {"perplexity": perplexity}}))
    assert FineTuneJobStatus.model_validate_json(json.dumps(folded.to_wire(), allow_nan=False)) == folded
    assert folded.progress is not None
    assert folded.progress.percent is None or 0 <= folded.progress.percent <= 100


@pytest.mark.parametrize(
    ("cursor", "fields", "news"),
    [
        (None, {}, True),
        ("1/bot-1-x7k2p/2", {}, True),
        ("1/bot-1-x7k2p/3", {}, False),
        ("1/bot-1-x7k2p/4", {}, False),
        ("1/bot-1-other/9", {}, True),
        ("2/bot-2-a/1", {}, False),
        ("nonsense", {}, True),
    ],
    ids=["first", "next", "the same", "older", "same attempt in a new cluster", "of an older attempt", "unreadable cursor"],
)
def test_news_are_what_comes_later(cursor: str | None, fields: dict[str, Any], news: bool) -> None:
    assert is_news(FineTuneJobStatus(report_cursor=cursor), record(**fields)) is news


def test_a_cursor_reads_what_it_writes() -> None:
    cursor = Cursor(3, "bot-3-abcde", 17)
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize(
    ("seconds_ago", "fields", "waits"),
    [(None, {}, 0), (3, {}, 12), (15, {}, 0), (400, {}, 0), (3, {"checkpoints": [checkpoint(20)]}, 0), (-3, {}, 0)],
    ids=["first", "early", "due", "late", "checkpoint", "clock went back"],
)
def test_a_job_is_written_for_progress_every_15_seconds_at_most(seconds_ago: int | None, fields: dict[str, Any], waits: int) -> None:
    last = None if seconds_ago is None else Progress(last_report_time=NOW - timedelta(seconds=seconds_ago))
    assert wait_before_taking(FineTuneJobStatus(progress=last), record(**fields), NOW) == timedelta(seconds=waits)


def test_no_text_of_a_record_makes_a_terminal_act() -> None:
    said = json.loads(record_text(outcome={"result": "Failed", "reason": "TrainingError", "message": "no"}))
    said["outcome"]["message"] = "\x1b[2J\x1b]0;owned\x07<b>no</b>"
    said["warnings"] = ["a\u202eb", "größer"]
    said["checkpoints"] = [json.loads(json.dumps(checkpoint(20), default=str)) | {"uri": "pvc://x\r\x9b1A"}]
    for text in (json.dumps(said), json.dumps(said, ensure_ascii=False)):
        taken = parse(text)
        assert taken.outcome is not None
        assert taken.outcome.message == " [2J ]0;owned <b>no</b>"
        assert taken.warnings == ["a b", "größer"]
        assert taken.checkpoints[0].uri == "pvc://x  1A"


@pytest.mark.parametrize("sign", ["\r", "\b", "\f", "\x7f", "\x1b", "\x00"])
def test_what_a_terminal_obeys_is_taken_out_of_a_record_however_it_is_written(sign: str) -> None:
    model = {"name": f"m{sign}x", "source": f"hub{sign}", "precision": "bfloat16", "digest": "sha256:0"}
    said = json.loads(record_text()) | {"warnings": [f"all is well{sign}no"], "model": model, "output": {"uri": f"pvc://{sign}x"}}
    for text in (json.dumps(said), json.dumps(said, ensure_ascii=False)):
        taken = parse(text)
        assert taken.model is not None
        assert taken.output is not None
        assert (taken.warnings, taken.model.name, taken.model.source) == (["all is well no"], "m x", "hub ")
        assert taken.output.uri == "pvc:// x"


def test_a_refusal_quotes_no_control_characters() -> None:
    with pytest.raises(RecordError) as error:
        parse(json.dumps(json.loads(record_text()) | {"x\ry": 1}))
    assert str(error.value).isprintable()


def test_a_long_warning_is_cut_and_not_refused() -> None:
    [taken] = parse(record_text(warnings=["a token: " + "eyJ-" * 15_000])).warnings
    assert len(taken) == WARNING_MAX_LENGTH
    [shown] = fold(FineTuneJobStatus(), record(warnings=[taken])).warnings or []
    assert len(shown) <= 1024
