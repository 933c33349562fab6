"""Reports: whole, numbered, throttled, urgent when they matter, and insisted upon at the end."""

import json
import threading
from pathlib import Path

import pytest

from finetune.api.record import Metrics, Outcome, ProgressFigures, ProgressRecord, Result, Stage
from finetune.api.sections import LoraMethod, Method, Training
from finetune.api.sources import Data, ModelSource, Source
from finetune.api.trainconfig import JobIdentity, OutputFolder, ProgressSink, TrainConfig
from trainer.reporting.progress import FileSink, ProgressBox, ProgressReporter


def config(tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        job=JobIdentity(name="job", attempt=2), task="chat", model=ModelSource(name="m"), data=Data(train=[Source(path="/x.jsonl")]),
        method=Method(lora=LoraMethod()), training=Training(epochs=1), output=OutputFolder(directory=str(tmp_path)),
        progress=ProgressSink(file=str(tmp_path / "record.json")),
    )  # fmt: skip


class CountingSink:
    """Keeps the records; refuses the first `refusals` writes."""

    def __init__(self, refusals: int = 0, interval_seconds: float = 15.0) -> None:
        self.interval_seconds, self.refusals, self.records = interval_seconds, refusals, []

    def write(self, record: ProgressRecord) -> None:
        if self.refusals > 0:
            self.refusals -= 1
            raise ConnectionError("the API server is away")
        self.records.append(record)


OUTCOME = Outcome(result=Result.SUCCEEDED, reason="Succeeded", message="done")


def test_a_file_sink_always_holds_a_whole_record(tmp_path: Path) -> None:
    reporter = ProgressReporter(config(tmp_path), FileSink(tmp_path / "record.json"))
    reporter.update(stage=Stage.TRAINING, progress=ProgressFigures(step=3, total_steps=10, epoch=0.3, tokens_seen=99))
    assert reporter.publish()
    record = ProgressRecord.model_validate(json.loads((tmp_path / "record.json").read_text()))
    assert (record.attempt, record.sequence, record.stage) == (2, 1, Stage.TRAINING)
    assert record.progress is not None
    assert record.progress.step == 3


def test_the_last_record_is_written_until_it_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    sink = CountingSink(refusals=4)
    assert ProgressReporter(config(tmp_path), sink).finish(outcome=OUTCOME, stage=Stage.FINISHED)
    assert [record.outcome for record in sink.records] == [OUTCOME]
    assert sink.records[0].sequence == 5


def test_what_is_reported_into_an_object_that_was_made_anew_is_whole_and_newer_than_before(tmp_path: Path) -> None:
    sink = CountingSink()
    reporter = ProgressReporter(config(tmp_path), sink)
    reporter.update(stage=Stage.TRAINING, resumed_from_step=0, warnings=["one row is long"])
    assert reporter.publish()
    sink.refusals = 2  # somebody has deleted the ConfigMap
    reporter.update(progress=ProgressFigures(step=3, total_steps=10, epoch=0.3, tokens_seen=99))
    assert [reporter.publish() for _ in range(3)] == [False, False, True]
    before, after = sink.records
    assert after.sequence > before.sequence
    assert (after.stage, after.resumed_from_step, after.warnings) == (Stage.TRAINING, 0, ["one row is long"])
    assert after.progress is not None
    assert after.progress.step == 3


def test_a_sink_that_stays_away_does_not_hold_the_end_up_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    now = iter(range(0, 100_000, 30))
    reporter = ProgressReporter(config(tmp_path), CountingSink(refusals=10_000), clock=lambda: float(next(now)))
    assert not reporter.finish(outcome=OUTCOME)


def run_for(reporter: ProgressReporter, seconds: float) -> None:
    reporter.start()
    reporter._closed.wait(seconds)


def test_plain_progress_is_throttled_and_a_checkpoint_is_not(tmp_path: Path) -> None:
    sink = CountingSink(interval_seconds=60.0)
    reporter = ProgressReporter(config(tmp_path), sink)
    reporter.update(stage=Stage.TRAINING)
    run_for(reporter, 0.6)
    for step in range(5):
        reporter.update(progress=ProgressFigures(step=step, total_steps=10, epoch=0, tokens_seen=0))
    reporter._closed.wait(0.6)
    assert len(sink.records) == 1
    reporter.update(checkpoints=[], resumed_from_step=4)
    reporter._closed.wait(0.6)
    assert len(sink.records) == 2
    assert sink.records[1].progress is not None
    assert sink.records[1].progress.step == 4
    reporter.finish(outcome=OUTCOME)


def test_the_box_hands_over_each_change_once_and_carries_the_wish_to_stop_back() -> None:
    box = ProgressBox()
    assert box.put({"stage": Stage.TRAINING}) is False
    box.put({"resumed_from_step": 0})
    assert box.fetch() == ({"stage": Stage.TRAINING, "resumed_from_step": 0}, Stage.TRAINING)
    assert box.fetch() == ({}, Stage.TRAINING)
    box.request_stop()
    assert box.put({}) is True


def test_a_lost_worker_side_does_not_stop_the_reports(tmp_path: Path) -> None:
    def lost() -> dict[str, object]:
        raise ConnectionError("the actor died")

    sink = CountingSink(interval_seconds=0.0)
    reporter = ProgressReporter(config(tmp_path), sink)
    reporter.poll(lost)
    reporter.update(stage=Stage.TRAINING)
    run_for(reporter, 0.6)
    assert reporter.finish(outcome=OUTCOME)
    assert sink.records[-1].outcome == OUTCOME


def test_a_figure_that_is_no_number_is_left_out_of_the_record(tmp_path: Path) -> None:
    reporter = ProgressReporter(config(tmp_path), FileSink(tmp_path / "record.json"))
    reporter.update(metrics=Metrics(final={"wer": float("nan"), "perplexity": float("inf"), "bleu": 3.0}))
    reporter.publish()
    written = json.loads((tmp_path / "record.json").read_text(), parse_constant=pytest.fail)
    assert written["metrics"]["final"] == {"bleu": 3.0}


def test_half_letters_of_the_users_rows_do_not_make_a_record_that_nobody_can_read(tmp_path: Path) -> None:
    reporter = ProgressReporter(config(tmp_path), FileSink(tmp_path / "record.json"))
    reporter.update(warnings=["row 3 holds 'Gr\u00fc\u00dfe \ud83d'"])
    assert reporter.publish()
    read = ProgressRecord.model_validate_json((tmp_path / "record.json").read_text())
    assert read.warnings == ["row 3 holds 'Gr\u00fc\u00dfe ?'"]


def test_what_was_fetched_first_does_not_overwrite_what_came_after_it(tmp_path: Path) -> None:
    reporter = ProgressReporter(config(tmp_path), CountingSink())
    changes = iter([{"stage": Stage.TRAINING}, {"stage": Stage.FINAL}])
    first_has_its_change, second_may_go_on = threading.Event(), threading.Event()

    def source() -> dict[str, object]:
        change = next(changes)
        if change["stage"] is Stage.TRAINING:
            first_has_its_change.set()
            second_may_go_on.wait(0.3)
        return change

    reporter.poll(source)
    first = threading.Thread(target=reporter.fetch)
    first.start()
    first_has_its_change.wait()
    reporter.fetch()
    second_may_go_on.set()
    first.join()
    assert reporter.publish()
    assert reporter._sink.records[-1].stage is Stage.FINAL
