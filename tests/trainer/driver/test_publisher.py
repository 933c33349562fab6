"""Reports: whole, numbered, throttled, urgent when they matter, and insisted upon at the end."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import V1ConfigMap, V1ObjectMeta

from finetune.api.folding import WRITE_INTERVAL
from finetune.api.record import STOP_ANNOTATION, Metrics, Outcome, ProgressRecord, Result, Stage, TrainingProgress
from finetune.api.runpolicy import STALL_TIMEOUT_MIN
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from trainer.driver.publisher import CONFIG_MAP_INTERVAL_SECONDS, HEARTBEAT_SECONDS, ConfigMapTarget, FileTarget, Publisher
from trainer.rank.outbox import PULSE_SECONDS
from trainer.reporting.messages import RecordUpdate


def config(folder: Path) -> TrainConfig:
    return train_config(
        job={"name": "job", "attempt": 2}, output={"directory": str(folder)}, progress={"file": str(folder / "record.json")}
    )


class CountingTarget:
    """Keeps the records; refuses the first `refusals` writes."""

    def __init__(self, refusals: int = 0, interval_seconds: float = 15.0) -> None:
        self.interval_seconds, self.refusals, self.records = interval_seconds, refusals, []
        self.heartbeat_seconds, self.stop_requested = HEARTBEAT_SECONDS, ""
        self.written = threading.Event()

    def write(self, record: ProgressRecord) -> None:
        if self.refusals > 0:
            self.refusals -= 1
            raise ConnectionError("the API server is away")
        self.records.append(record)
        self.written.set()


class FakeConfigMaps:
    """An API server that has one ConfigMap or none, and what was asked of it."""

    def __init__(self, there: bool = True, refusal: int = 0) -> None:
        self.there, self.refusal, self.asked = there, refusal, list[tuple[str, Any]]()
        self.annotations: dict[str, str] | None = None

    def patch_namespaced_config_map(self, name: str, namespace: str, body: Any, *, _request_timeout: tuple[int, int]) -> Any:
        self.asked.append(("patch", body))
        if self.refusal or not self.there:
            error = RuntimeError("refused")
            error.status = self.refusal or 404  # type: ignore[attr-defined]
            raise error
        return V1ConfigMap(metadata=V1ObjectMeta(name=name, annotations=self.annotations))

    def create_namespaced_config_map(self, namespace: str, body: Any, *, _request_timeout: tuple[int, int]) -> object:
        self.asked.append(("create", body))
        self.there = True
        return body


RECORD = ProgressRecord.model_validate({"attempt": 1, "sequence": 1, "time": "2026-03-01T12:00:00Z", "stage": "Training"})
METADATA = {"labels": {"finetune.dev/job": "bot"}, "ownerReferences": [{"kind": "FineTuneJob", "name": "bot", "uid": "1"}]}


def test_the_first_record_creates_its_config_map_and_the_next_one_changes_it() -> None:
    api = FakeConfigMaps(there=False)
    target = ConfigMapTarget("team", "bot-1-progress", METADATA, api)
    target.write(RECORD)
    target.write(RECORD)
    assert [verb for verb, _ in api.asked] == ["patch", "create", "patch"]
    created = api.asked[1][1]
    assert created["metadata"] == {**METADATA, "name": "bot-1-progress"}
    assert json.loads(created["data"]["record.json"])["sequence"] == 1


def test_the_answer_to_a_record_brings_the_request_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_CLUSTER_NAME", "bot-1-x7k2p")
    api, requests = FakeConfigMaps(), list[str]()
    publisher = Publisher(config(tmp_path), ConfigMapTarget("team", "bot-1-progress", METADATA, api))
    publisher.on_stop(lambda: requests.append("stop"))
    for annotations in (None, {"other": "x"}, {STOP_ANNOTATION: "bot-1-evicted"}):
        api.annotations = annotations
        assert publisher.publish()
    assert requests == []
    api.annotations = {STOP_ANNOTATION: "bot-1-x7k2p"}
    assert publisher.publish()
    assert requests == ["stop"]


@pytest.mark.parametrize(("metadata", "refusal"), [(None, 404), (METADATA, 403), (METADATA, 422)])
def test_what_was_to_be_there_or_is_refused_is_not_created(metadata: dict[str, Any] | None, refusal: int) -> None:
    api = FakeConfigMaps(refusal=refusal)
    with pytest.raises(RuntimeError, match="refused"):
        ConfigMapTarget("team", "bot-1-progress", metadata, api).write(RECORD)
    assert [verb for verb, _ in api.asked] == ["patch"]


OUTCOME = Outcome(result=Result.SUCCEEDED, reason="Succeeded", message="done")


def test_a_file_always_holds_a_whole_record(tmp_path: Path) -> None:
    publisher = Publisher(config(tmp_path), FileTarget(tmp_path / "record.json"))
    publisher.update(stage=Stage.TRAINING, progress=TrainingProgress(step=3, total_steps=10, epoch=0.3, tokens_seen=99))
    assert publisher.publish()
    record = ProgressRecord.model_validate(json.loads((tmp_path / "record.json").read_text()))
    assert (record.attempt, record.sequence, record.stage) == (2, 1, Stage.TRAINING)
    assert record.progress is not None
    assert record.progress.step == 3


def test_the_last_record_is_written_until_it_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    target = CountingTarget(refusals=4)
    assert Publisher(config(tmp_path), target).finish(outcome=OUTCOME, stage=Stage.FINISHED)
    assert [record.outcome for record in target.records] == [OUTCOME]
    assert target.records[0].sequence == 5


def test_what_a_run_that_was_given_up_still_reports_does_not_overwrite_the_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = CountingTarget(refusals=1)
    publisher = Publisher(config(tmp_path), target)
    monkeypatch.setattr("time.sleep", lambda seconds: publisher.update(stage=Stage.STARTING))
    assert publisher.finish(outcome=OUTCOME, stage=Stage.FINISHED)
    assert [(record.stage, record.outcome) for record in target.records] == [(Stage.FINISHED, OUTCOME)]


def test_a_record_that_goes_into_a_new_object_is_whole_and_newer_than_before(tmp_path: Path) -> None:
    target = CountingTarget()
    publisher = Publisher(config(tmp_path), target)
    publisher.update(stage=Stage.TRAINING, resumed_from_step=0, warnings=["one row is long"])
    assert publisher.publish()
    target.refusals = 2  # somebody has deleted the ConfigMap
    publisher.update(progress=TrainingProgress(step=3, total_steps=10, epoch=0.3, tokens_seen=99))
    assert [publisher.publish() for _ in range(3)] == [False, False, True]
    before, after = target.records
    assert after.sequence > before.sequence
    assert (after.stage, after.resumed_from_step, after.warnings) == (Stage.TRAINING, 0, ["one row is long"])
    assert after.progress is not None
    assert after.progress.step == 3


def test_a_target_that_stays_away_does_not_hold_up_the_end_without_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    now = iter(range(0, 100_000, 30))
    publisher = Publisher(config(tmp_path), CountingTarget(refusals=10_000), clock=lambda: float(next(now)))
    assert not publisher.finish(outcome=OUTCOME)


def test_the_thread_publishes_what_changes_until_the_end(tmp_path: Path) -> None:
    target = CountingTarget()
    publisher = Publisher(config(tmp_path), target)
    publisher.start()
    publisher.update(stage=Stage.TRAINING)
    assert target.written.wait(60)
    assert publisher.finish(outcome=OUTCOME)
    assert [record.outcome for record in target.records] == [None, OUTCOME]


def test_plain_progress_is_throttled_and_a_checkpoint_is_not(tmp_path: Path) -> None:
    target, seconds = CountingTarget(interval_seconds=60.0), [0.0]
    publisher = Publisher(config(tmp_path), target, clock=lambda: seconds[0])
    publisher.update(stage=Stage.TRAINING)
    publisher.turn()
    for step in range(5):
        publisher.update(progress=TrainingProgress(step=step, total_steps=10, epoch=0, tokens_seen=0))
        publisher.turn()
    assert len(target.records) == 1
    publisher.update(checkpoints=[], resumed_from_step=4)
    publisher.turn()
    assert len(target.records) == 2
    assert target.records[1].progress is not None
    assert target.records[1].progress.step == 4
    publisher.update(progress=TrainingProgress(step=5, total_steps=10, epoch=0, tokens_seen=0))
    seconds[0] = 60.0
    publisher.turn()
    assert len(target.records) == 3
    publisher.turn()
    assert len(target.records) == 3, "nothing has changed"


@pytest.mark.parametrize(
    ("stage", "records"),
    [
        (Stage.READING, 6),
        (Stage.STARTING, 6),
        (Stage.REWRITING, 1),
        (Stage.EXPORTING, 6),
        (Stage.TRAINING, 1),
        (Stage.BASELINE, 1),
        (Stage.FINAL, 1),
    ],
)
def test_the_driver_repeats_a_record_only_where_the_ranks_give_no_sign_of_life(tmp_path: Path, stage: Stage, records: int) -> None:
    target, seconds = CountingTarget(), [0.0]
    publisher = Publisher(config(tmp_path), target, clock=lambda: seconds[0])
    publisher.update(stage=stage)
    for second in range(330):
        seconds[0] = float(second)
        publisher.turn()
    assert [record.sequence for record in target.records] == list(range(1, records + 1))


def test_a_sign_of_life_of_the_ranks_has_the_record_repeated_as_it_is(tmp_path: Path) -> None:
    target, seconds = CountingTarget(), [0.0]
    publisher = Publisher(config(tmp_path), target, clock=lambda: seconds[0])
    publisher.update(stage=Stage.FINAL)
    for number in range(1, 6):
        publisher.turn()
        seconds[0] += 60.0
        publisher.update(pulse=number)
    assert [(record.sequence, record.stage) for record in target.records] == [(number, Stage.FINAL) for number in range(1, 6)]


def test_silence_of_a_trainer_that_works_is_much_shorter_than_any_stall() -> None:
    assert 2 * (max(HEARTBEAT_SECONDS, PULSE_SECONDS) + CONFIG_MAP_INTERVAL_SECONDS + WRITE_INTERVAL.total_seconds()) < STALL_TIMEOUT_MIN


def test_a_lost_worker_side_does_not_stop_the_reports(tmp_path: Path) -> None:
    def lost() -> RecordUpdate:
        raise ConnectionError("the actor died")

    target = CountingTarget(interval_seconds=0.0)
    publisher = Publisher(config(tmp_path), target)
    publisher.poll(lost)
    publisher.update(stage=Stage.TRAINING)
    publisher.turn()
    assert publisher.finish(outcome=OUTCOME)
    assert target.records[-1].outcome == OUTCOME


def test_a_figure_that_is_no_number_is_left_out_of_the_record(tmp_path: Path) -> None:
    publisher = Publisher(config(tmp_path), FileTarget(tmp_path / "record.json"))
    publisher.update(metrics=Metrics(final={"wer": float("nan"), "perplexity": float("inf"), "bleu": 3.0}))
    publisher.publish()
    written = json.loads((tmp_path / "record.json").read_text(), parse_constant=pytest.fail)
    assert written["metrics"]["final"] == {"bleu": 3.0}


def test_half_letters_of_the_users_rows_do_not_make_a_record_that_nobody_can_read(tmp_path: Path) -> None:
    publisher = Publisher(config(tmp_path), FileTarget(tmp_path / "record.json"))
    publisher.update(warnings=["row 3 holds 'Gr\u00fc\u00dfe \ud83d'"])
    assert publisher.publish()
    read = ProgressRecord.model_validate_json((tmp_path / "record.json").read_text())
    assert read.warnings == ["row 3 holds 'Gr\u00fc\u00dfe ?'"]


def test_what_was_fetched_first_does_not_overwrite_what_came_after_it(tmp_path: Path) -> None:
    publisher = Publisher(config(tmp_path), CountingTarget())
    changes = iter([RecordUpdate(stage=Stage.TRAINING), RecordUpdate(stage=Stage.FINAL)])
    first_has_its_change, second_may_go_on = threading.Event(), threading.Event()

    def source() -> RecordUpdate:
        change = next(changes)
        if change["stage"] is Stage.TRAINING:
            first_has_its_change.set()
            second_may_go_on.wait(0.3)
        return change

    publisher.poll(source)
    first = threading.Thread(target=publisher.fetch)
    first.start()
    first_has_its_change.wait()
    publisher.fetch()
    second_may_go_on.set()
    first.join()
    assert publisher.publish()
    assert publisher._target.records[-1].stage is Stage.FINAL
