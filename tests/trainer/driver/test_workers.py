"""What the driver asks of Ray Train, and how it gets what the workers report."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.api.record import ProgressRecord, Stage
from tests.builders import train_config
from trainer.driver.publisher import Publisher
from trainer.driver.raystart import RayNotStartedError
from trainer.driver.stopping import StopRequest
from trainer.driver.workers import FETCH_SECONDS, LAST_FETCHES_SECONDS, BoxReader, Workers, fetch_the_rest, ray_trainer
from trainer.hub.connection import HubUnavailable
from trainer.reporting.progress import ProgressBox
from trainer.reporting.stageclock import StageClock


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
    assert trainer.backend_config.to_dict() == {"backend": backend}
    assert trainer.run_config.failure_config.max_failures == 0, "attempts are the controller's"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        pytest.param({}, "LocalTrainer", id="here, unseen"),
        pytest.param({"workers": {"workers": 1, "gpusPerWorker": 2}}, "LocalTrainer", id="here, with GPUs"),
        pytest.param({"dashboard": True}, "RanksTrainer", id="here, with --dashboard"),
        pytest.param({"progress": {"namespace": "default", "configMap": "bot-progress"}}, "RanksTrainer", id="on a cluster"),
    ],
)
def test_the_driver_runs_ray_trains_control_loop_only_where_no_dashboard_shows_it(changes: dict[str, Any], kind: str) -> None:
    assert type(ray_trainer(train_config(**changes), payload=None)).__name__ == kind


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
    heartbeat_seconds = float("inf")
    stop_requested = ""
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


class Ray:
    """Ray and Ray Train in this process: the order reaches the workers, which report, and end as they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, start: Exception | None = None, end: Exception | None = None) -> None:
        self.box, self.start, self.end = Box(monkeypatch), start, end
        self.box.give = SimpleNamespace(remote=lambda order: SimpleNamespace(value=self.box.inner.give(order)))
        self.prepared, self.started, self.began = threading.Event(), threading.Event(), threading.Event()
        for name, stand_in in {
            "trainer.driver.workers.prepare_for_ray": lambda _: self.prepared.set(),
            "trainer.driver.workers.start_ray": self._start,
            "trainer.reporting.progress.progress_box": self._box_in,
            "trainer.driver.workers.ray_trainer": lambda *_: SimpleNamespace(fit=self._fit),
        }.items():
            monkeypatch.setattr(name, stand_in)

    def _box_in(self, environment: dict[str, str]) -> Box:
        self.environment_of_box = environment
        return self.box

    def _start(self, _: object) -> None:
        self.started.set()
        if self.start is not None:
            raise self.start

    def _fit(self) -> None:
        self.began.set()
        if self.end is not None:
            raise self.end
        while self.box.inner.order() is None:
            time.sleep(0.01)
        self.box.inner.put({"warnings": [self.box.inner.order().owner]})


def workers_of_a_run(**changes: Any) -> Workers:
    return Workers(train_config(**changes), StageClock("driver", 0.0))


def test_workers_come_up_at_once_and_train_when_they_are_told_what(monkeypatch: pytest.MonkeyPatch, published: Published) -> None:
    publisher, last = published
    ray, workers = Ray(monkeypatch), workers_of_a_run(workers={"workers": 2})
    assert not workers.idle
    workers.begin()
    assert ray.prepared.is_set(), "the environment is set before the caller goes on"
    assert ray.began.wait(10)
    assert workers.idle
    workers.begin()
    workers.train(lambda: b"", "me", publisher, StopRequest())
    assert not workers.idle
    assert last().warnings == ["me"]


def test_workers_that_end_while_they_wait_are_started_once_more(monkeypatch: pytest.MonkeyPatch, published: Published) -> None:
    publisher, last = published
    ray, workers = Ray(monkeypatch), workers_of_a_run(workers={"workers": 2})
    ray.end = ConnectionError("the pod of a worker was evicted")
    again, fit = threading.Event(), ray._fit

    def lose_the_first() -> None:
        if ray.began.is_set():
            ray.end = None
            again.set()
        fit()

    monkeypatch.setattr("trainer.driver.workers.ray_trainer", lambda *_: SimpleNamespace(fit=lose_the_first))
    workers.begin()
    assert again.wait(10)
    workers.train(lambda: b"", "me", publisher, StopRequest())
    assert last().warnings == ["me"]


def test_workers_that_end_while_the_input_is_fetched_are_started_once_more(monkeypatch: pytest.MonkeyPatch, published: Published) -> None:
    publisher, last = published
    ray, workers = Ray(monkeypatch), workers_of_a_run(workers={"workers": 2})
    fetching, again, fit = threading.Event(), threading.Event(), ray._fit

    def lose_the_first() -> None:
        if ray.began.is_set():
            again.set()
            fit()
        else:
            ray.began.set()
            assert fetching.wait(10)
            raise ConnectionError("the pod of a worker was evicted")

    def fetched() -> bytes:
        fetching.set()
        assert again.wait(10), "the workers are started once more"
        return b""

    monkeypatch.setattr("trainer.driver.workers.ray_trainer", lambda *_: SimpleNamespace(fit=lose_the_first))
    workers.train(fetched, "me", publisher, StopRequest())
    assert last().warnings == ["me"]


def test_a_fetch_that_fails_has_asked_the_workers_for_nothing(monkeypatch: pytest.MonkeyPatch, published: Published) -> None:
    Ray(monkeypatch)
    workers = workers_of_a_run(workers={"workers": 2})

    def unavailable() -> bytes:
        raise HubUnavailable("the hub does not answer")

    with pytest.raises(HubUnavailable):
        workers.train(unavailable, "me", published[0], StopRequest())
    assert workers.idle


def test_workers_that_were_not_begun_before_come_up_to_train(monkeypatch: pytest.MonkeyPatch, published: Published) -> None:
    publisher, last = published
    Ray(monkeypatch)
    workers_of_a_run().train(lambda: b"", "me", publisher, StopRequest())
    assert last().warnings == ["me"]


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        pytest.param({"start": RayNotStartedError("Ray did not start")}, RayNotStartedError, id="Ray does not come up"),
        pytest.param({"end": ConnectionError("a worker died")}, ConnectionError, id="the workers do not come up"),
    ],
)
def test_what_goes_wrong_meanwhile_is_told_when_the_workers_are_needed(
    monkeypatch: pytest.MonkeyPatch, published: Published, faults: dict[str, Exception], told: type[Exception]
) -> None:
    ray, workers = Ray(monkeypatch, **faults), workers_of_a_run()
    workers.begin()
    assert ray.started.wait(10)
    with pytest.raises(told):
        workers.train(lambda: b"", "me", published[0], StopRequest())
