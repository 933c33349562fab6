"""Saves a checkpoint at a fixed interval, at each new best, and when training ends for any reason.

Rank 0 writes what all ranks gather; in full fine-tuning with a sharded state, each rank writes its part.
Test: tests/trainer/rank/test_hooks.py.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from finetune.api.trainconfig import TrainConfig
from trainer.engine.base import Engine
from trainer.rank.ledger import Ledger
from trainer.reporting.messages import Sender
from trainer.storage.checkpoint import CheckpointStore
from trainer.training.loop import Progress


class SaveCheckpoints:
    """Saves due checkpoints; a failure on rank 0 fails the run on all.

    `state_at` returns what is saved besides tensors; `flush` stores the figures of all steps so far, which a resume goes on from;
    `timed` times a save.
    """

    def __init__(self, engine: Engine, store: CheckpointStore, config: TrainConfig, ledger: Ledger, sender: Sender,
                 state_at: Callable[[Progress], Mapping[str, Any]], flush: Callable[[], None],
                 timed: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:  # fmt: skip
        self._engine, self._store, self._config, self._ledger, self._sender = engine, store, config, ledger, sender
        self._state_at, self._flush, self._timed = state_at, flush, timed
        # An adapter is small, and whole it does not depend on the number of ranks.
        self._in_parts = engine.shards_state and config.method.lora is None

    def due(self, progress: Progress) -> bool:
        """Return whether the interval is over; a new best comes from a validation, which is due itself."""
        return progress.step % self._config.checkpoint.every_steps == 0

    def after_step(self, progress: Progress) -> None:
        """Save at the interval, at a new best, and after the last step."""
        best = self._ledger.metrics.best
        new_best = best is not None and best.step == progress.step
        if self.due(progress) or new_best or progress.finished:
            self.save(progress)

    def save(self, progress: Progress) -> None:
        """Save a checkpoint of this step, and send the list of checkpoints to the driver. All ranks must call it."""
        with self._timed():
            self._save(progress)

    def _save(self, progress: Progress) -> None:
        engine, step, attempt, validated = self._engine, progress.step, self._config.job.attempt, self._ledger.metrics.validated
        score = validated if validated is not None and validated.step == step else None
        if engine.rank == 0:
            self._flush()
        if self._in_parts:
            self._store.save_parts(engine.part(), engine, lambda: self._state_at(progress), step=step, attempt=attempt, score=score)
        else:
            state = engine.state()
            if engine.rank == 0:
                self._store.save(state.groups(), self._state_at(progress), step=step, attempt=attempt, score=score)
        if engine.rank == 0:
            self._sender.send(checkpoints=list(self._store.records))
        engine.broadcast(None)
        progress.pause()
