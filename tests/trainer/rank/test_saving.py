"""Checkpoints that are written while training goes on: what they hold, when they exist, and what becomes of errors."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.builders import train_config
from tests.trainer.fixtures.ranks import ThreadRank, on_all_ranks
from tests.trainer.rank.test_hooks import Listener, OneRank, progress_at
from trainer.engine.hostmemory import HostMemory
from trainer.engine.state import EngineState, Keep, StatePart, cloned
from trainer.rank.hooks import checkpoints
from trainer.rank.hooks.checkpoints import SaveCheckpoints
from trainer.rank.hooks.order import Hooks
from trainer.rank.hooks.stop import StopOnRequest
from trainer.rank.ledger import Ledger
from trainer.storage.checkpoint import CheckpointStore
from trainer.storage.localfolder import LocalFolder
from trainer.training.figures import StepResult


class Training(OneRank):
    """An engine whose only weight a step changes in place."""

    def __init__(self) -> None:
        self.weight = torch.zeros(2)

    def step(self) -> None:
        self.weight += 1

    def state(self, keep: Keep = cloned) -> EngineState:
        return EngineState({"w": keep(self.weight)}, {"exp_avg": {}})


class SlowStore(CheckpointStore):
    """A store whose disk waits until it may go on, or fails."""

    def __init__(self, folder: Path, fault: str | None = None) -> None:
        super().__init__(LocalFolder(folder), "owner", 10)
        self.go, self.begun, self.fault, self.seen = threading.Event(), threading.Event(), fault, list[str]()

    def save(self, *given: Any, step: int, **facts: Any) -> Any:
        self.seen.append(f"begin {step}")
        self.begun.set()
        assert self.go.wait(60)
        if self.fault is not None:
            raise OSError(self.fault)
        super().save(*given, step=step, **facts)
        self.seen.append(f"end {step}")


def saving(store: CheckpointStore, listener: Listener, engine: Any = None) -> SaveCheckpoints:
    config = train_config(checkpoint={"everySteps": 1, "keep": 10})
    return SaveCheckpoints(engine or Training(), store, config, Ledger(), listener, lambda now: {"step": now.step}, listener.flush)


def after_a_step(hook: SaveCheckpoints) -> None:
    """Do what the loop does with the figures of the next step."""
    note = Hooks(None, None, StopOnRequest(OneRank(), Listener()), hook).supervision().note
    note(StepResult(progress_at(2).to_record(), 1.0, 1.0, 1e-3, 40))


def steps_sent(listener: Listener) -> list[list[int]]:
    return [[record.step for record in fields["checkpoints"]] for fields in listener.fields if "checkpoints" in fields]


def test_training_goes_on_meanwhile_and_the_checkpoint_has_the_weights_of_its_step(tmp_path: Path) -> None:
    store, listener, engine = SlowStore(tmp_path), Listener(), Training()
    with saving(store, listener, engine) as hook:
        for step in (1, 2):
            engine.step()
            hook.save(progress_at(step))
            engine.step()
            after_a_step(hook)
            if step == 1:
                assert steps_sent(listener) == [], "nobody may hear of a checkpoint that is not there yet"
            store.go.set()
    assert steps_sent(listener) == [[1], [1, 2]]
    assert [store.at_step(step).tensors().whole("parameters")["w"].tolist() for step in (1, 2)] == [[1.0, 1.0], [3.0, 3.0]]
    assert store.at_step(1).trainer_state == {"step": 1}


def test_the_next_save_waits_for_the_one_before(tmp_path: Path) -> None:
    store = SlowStore(tmp_path)
    with saving(store, Listener()) as hook:
        hook.save(progress_at(1))
        assert store.begun.wait(60)
        second = threading.Thread(target=hook.save, args=(progress_at(2),))
        second.start()
        second.join(0.2)  # long enough for a save that does not wait to begin
        assert second.is_alive()
        assert store.seen == ["begin 1"]
        store.go.set()
        second.join()
    assert store.seen == ["begin 1", "end 1", "begin 2", "end 2"]


def test_the_last_checkpoint_of_training_is_there_before_training_ends(tmp_path: Path) -> None:
    store, listener = SlowStore(tmp_path), Listener()
    store.go.set()
    saving(store, listener).save(progress_at(100, total=100))
    assert steps_sent(listener) == [[100]]


@pytest.mark.parametrize("ends", [pytest.param(after_a_step, id="next step"), pytest.param(lambda _: None, id="end of training")])
def test_a_save_that_fails_fails_the_run_soon(tmp_path: Path, ends: Callable[[SaveCheckpoints], None]) -> None:
    store, listener = SlowStore(tmp_path, "the checkpoint of step 1 could not be written: No space left on device"), Listener()

    def train() -> None:
        with saving(store, listener) as hook:
            hook.save(progress_at(1))
            store.go.set()
            while ends is after_a_step:  # each is a step, until the writer has met the error
                ends(hook)

    with pytest.raises(OSError, match="step 1 could not be written: No space left"):
        train()
    assert steps_sent(listener) == []


@pytest.mark.parametrize("fault", [None, "the disk is full"])
def test_an_error_of_training_waits_for_the_save_under_way_and_is_the_one_that_is_raised(
    tmp_path: Path, fault: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    store, listener = SlowStore(tmp_path, fault), Listener()

    def train() -> None:
        with saving(store, listener) as hook:
            hook.save(progress_at(1))
            store.go.set()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert steps_sent(listener) == ([[1]] if fault is None else [])
    assert (fault in caplog.text) if fault is not None else not caplog.text


def test_where_memory_is_short_training_waits_for_each_checkpoint_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoints, "has_room", lambda *_, **__: False)
    store, listener, engine = SlowStore(tmp_path), Listener(), Training()
    store.go.set()
    with caplog.at_level(logging.WARNING), saving(store, listener, engine) as hook:
        for step in (1, 2):
            engine.step()
            hook.save(progress_at(step))
            assert store.seen[-1] == f"end {step}"
    assert caplog.text.count("memory is short") == 1
    assert store.at_step(2).tensors().whole("parameters")["w"].tolist() == [2.0, 2.0]


@pytest.mark.parametrize("short", [None, "room", "memory"], ids=["all have memory", "rank 1 has none", "rank 1 does not get it"])
def test_ranks_write_their_parts_beside_training_and_all_wait_if_one_has_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: str | None
) -> None:
    waited = threading.Event()

    class Slow(LocalFolder):
        def stage(self, name: str) -> Any:
            if short is None:
                assert waited.wait(60), "training must go on before the checkpoint begins"
            return super().stage(name)

    def train(engine: ThreadRank) -> list[float]:
        begin = 2 * engine.rank
        weights = torch.arange(begin, begin + 2.0)
        engine.shards_state = True
        groups = {group: {"w": weights} for group in ("parameters", "exp_avg")}
        engine.part = lambda: StatePart({"w": (2, 2)}, {"w": (begin, begin + 2)}, groups)
        threading.current_thread().name = f"rank {engine.rank}"
        store = CheckpointStore(Slow(tmp_path), "owner", 10)
        config = train_config(method={"full": {}}, checkpoint={"everySteps": 1, "keep": 10})
        with SaveCheckpoints(engine, store, config, Ledger(), Listener(), lambda now: {}, lambda: None) as hook:
            hook.save(progress_at(1))
            weights.zero_()
            waited.set()
        return weights.tolist()

    def rank_1_lacks(what: str) -> bool:
        return short == what and threading.current_thread().name == "rank 1"

    def allocate(elements: int, *, pinned: bool) -> HostMemory:
        if rank_1_lacks("memory"):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return HostMemory(elements, pinned=pinned)

    monkeypatch.setattr(checkpoints, "has_room", lambda _, __, gather, **___: all(gather(not rank_1_lacks("room"))))
    monkeypatch.setattr(checkpoints, "HostMemory", allocate)
    assert on_all_ranks(2, train) == [[0.0, 0.0]] * 2
    saved = CheckpointStore(LocalFolder(tmp_path), "owner", 10).at_step(1).tensors()
    assert saved.whole("parameters")["w"].tolist() == [[0.0, 1.0], [2.0, 3.0]]
