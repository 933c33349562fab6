"""What the driver asks of Ray Train, and how it gets what the workers report."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.api.record import ProgressRecord, Stage
from tests.builders import train_config
from trainer.driver.publisher import Publisher
from trainer.driver.stopping import StopRequest
from trainer.driver.workers import FETCH_SECONDS, LAST_FETCHES_SECONDS, BoxReader, fetch_the_rest, ray_trainer
from trainer.reporting.progress import ProgressBox


@pytest.mark.parametrize(
    ("workers", "ranks", "use_gpu", "resources", "backend"),
    [
        pytest.param({"workers": 2, "gpusPerWorker": 4, "cpusPerWorker": 16}, 8, True, {"CPU": 4.0, "GPU": 1.0}, "nccl", id="GPUs"),
        pytest.param({"workers": 3, "gpusPerWorker": 0, "cpusPerWorker": 2}, 3, False, {"CPU": 2.0}, "gloo", id="CPUs"),
    ],
)
def test_each_gpu_or_each_worker_without_one_is_a_rank(
    tmp_path: Path, workers: dict[str, int], ranks: int, use_gpu: bool, resources: dict[str, float], backend: str
) -> None:
    config = train_config(workers=workers, output={"directory": str(tmp_path)})
    trainer = ray_trainer(config, payload=None)
    scaling = trainer.scaling_config
    assert (scaling.num_workers, scaling.use_gpu, scaling.resources_per_worker) == (ranks, use_gpu, resources)
    assert trainer.backend_config.backend == backend
    assert trainer.run_config.failure_config.max_failures == 0, "attempts are the controller's"


class Box:
    """A real box behind calls like those of Ray; an answer arrives after as many waits as `delays` says, else at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *delays: int, fault: Exception | None = None) -> None:
        self.inner, self.delays, self.fault, self.asked = ProgressBox(), list(delays), fault, 0
        self.waited_seconds = 0.0
        self.fetch, self.request_stop = SimpleNamespace(remote=self._fetch), SimpleNamespace(remote=self.inner.request_stop)
        monkeypatch.setattr("ray.wait", self._wait)
        monkeypatch.setattr("ray.get", self._get)

    def _fetch(self) -> SimpleNamespace:
        self.asked += 1
        return SimpleNamespace(waits=self.delays.pop(0) if self.delays else 0, value=self.inner.fetch())

    def _wait(self, answers: list[SimpleNamespace], timeout: float) -> tuple[list[Any], list[Any]]:
        [answer] = answers
        answer.waits -= 1
        self.waited_seconds += timeout if answer.waits >= 0 else 0
        return (answers, []) if answer.waits < 0 else ([], answers)

    def _get(self, answer: SimpleNamespace) -> Any:
        if self.fault is not None:
            raise self.fault
        return answer.value


class LastRecord:
    """Keeps the record that was written last."""

    interval_seconds = 15.0
    record: ProgressRecord

    def write(self, record: ProgressRecord) -> None:
        self.record = record


@pytest.fixture
def published(tmp_path: Path) -> tuple[Publisher, Callable[[], ProgressRecord]]:
    target = LastRecord()
    publisher = Publisher(train_config(output={"directory": str(tmp_path)}), target)

    def last() -> ProgressRecord:
        assert publisher.publish()
        return target.record

    return publisher, last


Published = tuple[Publisher, Callable[[], ProgressRecord]]


def test_an_answer_that_is_late_is_waited_for_again_and_not_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(monkeypatch, 1)
    box.inner.put({"warnings": ["one row is long"]})
    reader = BoxReader(box, StopRequest())
    assert (reader(), reader()) == ({}, {"warnings": ["one row is long"]})
    assert box.asked == 1


def test_what_was_reported_while_an_answer_was_late_is_in_the_last_record(monkeypatch: pytest.MonkeyPatch, published: Published) -> None:
    publisher, last = published
    box = Box(monkeypatch, 2, 1)
    reader = BoxReader(box, StopRequest())
    publisher.poll(reader)
    box.inner.put({"stage": Stage.FINAL, "warnings": ["one row is long"]})
    publisher.fetch()
    box.inner.put({"stage": Stage.EXPORTING})
    fetch_the_rest(reader, publisher)
    assert (last().stage, last().warnings, box.asked) == (Stage.EXPORTING, ["one row is long"], 2)


@pytest.mark.parametrize(
    ("delays", "fault", "asked"),
    [
        pytest.param((), ConnectionError("the actor died"), 1, id="gone"),
        pytest.param((1000,), None, 1, id="hanging"),
    ],
)
def test_a_box_that_does_not_answer_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, published: Published, delays: tuple[int, ...], fault: Exception | None, asked: int
) -> None:
    publisher, last = published
    box = Box(monkeypatch, *delays, fault=fault)
    reader = BoxReader(box, StopRequest())
    publisher.poll(reader)
    fetch_the_rest(reader, publisher, clock=lambda: box.waited_seconds)
    assert (box.asked, last().stage) == (asked, Stage.READING)
    assert box.waited_seconds < LAST_FETCHES_SECONDS + FETCH_SECONDS


def test_the_polling_thread_asks_the_box_for_nothing_more_at_the_end(monkeypatch: pytest.MonkeyPatch, published: Published) -> None:
    publisher, _ = published
    box = Box(monkeypatch)
    reader = BoxReader(box, StopRequest())
    publisher.poll(reader)
    fetch_the_rest(reader, publisher)
    publisher.turn()
    assert box.asked == 1


def test_a_ray_that_is_gone_is_asked_once_at_the_end(monkeypatch: pytest.MonkeyPatch, published: Published) -> None:
    publisher, _ = published
    box, asked = Box(monkeypatch), list[object]()

    def gone(answers: object, timeout: float) -> None:
        asked.append(answers)
        raise ConnectionError("Ray is shut down")

    monkeypatch.setattr("ray.wait", gone)
    fetch_the_rest(BoxReader(box, StopRequest()), publisher, clock=lambda: 0.0)
    assert len(asked) == 1


def test_a_request_to_stop_reaches_the_workers_and_their_stage_reaches_who_handles_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    box, stop = Box(monkeypatch), StopRequest()
    reader = BoxReader(box, stop)
    box.inner.put({"stage": Stage.TRAINING})
    reader()
    stop._signals = 1
    assert not stop.due, "the workers train"
    reader()
    assert box.inner.put({}) is True
