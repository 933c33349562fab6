"""Saves a checkpoint at a fixed interval, at each new best, and when training ends for any reason.

Rank 0 writes what all ranks gather; in full fine-tuning with a sharded state, each rank writes its part. Training waits while the
state is copied; the files are written in a thread, and a checkpoint exists, for resume, status and retention, once they are verified.
Test: tests/trainer/rank/test_hooks.py, tests/trainer/rank/test_saving.py.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch

from finetune.api.trainconfig import TrainConfig
from trainer.engine.base import Engine
from trainer.engine.hostmemory import HostMemory
from trainer.engine.room import has_room
from trainer.engine.state import in_place
from trainer.rank.ledger import Ledger
from trainer.reporting.messages import Sender
from trainer.storage.background import Background
from trainer.storage.checkpoint import CheckpointStore
from trainer.training.loop import Progress

logger = logging.getLogger(__name__)

AFTER_ERROR_SECONDS = 600.0
"""How long an error that ends training waits for the save under way: without it the run goes on from the checkpoint before."""


@dataclass(frozen=True)
class Timers:
    """What times a save."""

    blocked: Callable[[], AbstractContextManager[None]] = nullcontext
    """Around what training waits for."""
    written: Callable[[], AbstractContextManager[None]] = nullcontext
    """Around the writing, in its thread."""


class SaveCheckpoints:
    """Saves due checkpoints, one at a time; a failure fails the run, at the next step or at the end. A context manager.

    `state_at` returns what is saved besides tensors; `flush` stores the figures of all steps so far, which a resume goes on from.
    All ranks make it together.
    """

    def __init__(self, engine: Engine, store: CheckpointStore, config: TrainConfig, ledger: Ledger, sender: Sender,
                 state_at: Callable[[Progress], Mapping[str, Any]], flush: Callable[[], None],
                 timers: Timers | None = None) -> None:  # fmt: skip
        self._engine, self._store, self._config, self._ledger, self._sender = engine, store, config, ledger, sender
        self._state_at, self._flush, self._timers = state_at, flush, timers or Timers()
        # An adapter is small, and whole it does not depend on the number of ranks.
        self._in_parts = engine.shards_state and config.method.lora is None
        self._ranks = engine.ranks_aside() if self._in_parts else None
        self._background = Background()
        self._memory: HostMemory | None = None
        self._copies: bool | None = None
        """Whether all ranks have the memory to copy their state; unknown before the first save."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Wait for the save under way. After an error that one is raised, whatever becomes of the save."""
        if kind is None:
            with self._timers.blocked():
                self._wait()
            return
        if not issubclass(kind, Exception):
            return
        try:
            self.look(AFTER_ERROR_SECONDS)
        except Exception as fault:
            logger.error("%s", fault)

    def due(self, progress: Progress) -> bool:
        """Return whether the interval is over; a new best comes from a validation, which is due itself."""
        return progress.step % self._config.checkpoint.every_steps == 0

    def after_step(self, progress: Progress) -> None:
        """Save at the interval, at a new best, and after the last step."""
        best = self._ledger.metrics.best
        new_best = best is not None and best.step == progress.step
        # Without a score to choose by, the newest weights within the budget are the result.
        kept = best is None and self._ledger.adaptation.within(progress.step) is True
        if self.due(progress) or new_best or kept or progress.finished:
            self.save(progress)

    def save(self, progress: Progress) -> None:
        """Begin to save a checkpoint of this step, after the one before; the last one of training is waited for. All ranks must call it."""
        with self._timers.blocked():
            self._wait()
            waits = progress.finished or not self._may_copy()
            self._begin(progress)
            if waits:
                self._wait()
        progress.pause()

    def look(self, wait_seconds: float | None = 0.0) -> None:
        """Send the list of checkpoints to the driver if a save has ended, within `wait_seconds`; raises why it failed."""
        if self._background.ended(wait_seconds) and self._engine.rank == 0:
            self._sender.send(checkpoints=list(self._store.records))

    def _wait(self) -> None:
        """Wait for the save under way, on all ranks."""
        self.look(None)
        self._engine.broadcast(None)  # others wait for rank 0 as long as it takes, which a collective would not do

    def _may_copy(self) -> bool:
        """Return whether all ranks have the memory to copy their state, which they take at the first call."""
        if self._copies is None:
            engine, own = self._engine, self._elements()
            self._copies = has_room(4 * own, torch.device("cpu"), engine.gather, trains_on=engine.device) and self._take(own)
            if not self._copies and engine.rank == 0:
                logger.warning("memory is short for a copy of the training state (%d MiB): training waits for each checkpoint", own >> 18)
        return self._copies

    def _take(self, elements: int) -> bool:
        """Take the memory for copies of so many numbers, on all ranks or on none; return whether they have it."""
        try:
            self._memory = HostMemory(elements, pinned=self._engine.device.type == "cuda")
        except (RuntimeError, MemoryError) as error:  # torch raises the former
            logger.warning("no memory for a copy of the training state: %s", error)
        taken = all(self._engine.gather(self._memory is not None))
        if not taken:
            self._memory = None
        return taken

    def _elements(self) -> int:
        """Return how many numbers this rank copies."""
        if self._in_parts:
            return self._engine.part().elements
        return self._engine.state_elements() if self._engine.rank == 0 else 0

    def _begin(self, progress: Progress) -> None:
        engine, step, attempt, validated = self._engine, progress.step, self._config.job.attempt, self._ledger.metrics.validated
        score = validated if validated is not None and validated.step == step else None
        within = self._ledger.adaptation.within(step)
        saved = self._state_at(progress) if engine.rank == 0 else {}
        memory = self._memory  # without it, files are written from where the state lies
        if memory is not None:
            memory.rewind()
        if self._ranks is not None:
            ranks, part = self._ranks, engine.part() if memory is None else engine.part().kept(memory.keep)
            self._write(lambda: self._store.save_parts(part, ranks, saved, step=step, attempt=attempt, score=score, within_budget=within))
            return
        state = engine.state(in_place if memory is None else memory.keep)
        if engine.rank == 0:
            self._write(lambda: self._store.save(state.groups(), saved, step=step, attempt=attempt, score=score, within_budget=within))

    def _write(self, save: Callable[[], object]) -> None:
        if self._memory is not None:
            self._memory.wait()

        def job() -> None:
            with self._timers.written():
                if self._engine.rank == 0:
                    self._flush()
                save()

        self._background.begin(job)
