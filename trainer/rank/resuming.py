"""Where a run begins: at its newest valid checkpoint, or at step 0.

Rank 0 reads the checkpoints and chooses for all. Tests: tests/trainer/rank/test_resume.py, tests/trainer/rank/test_best.py.
"""

import logging
from dataclasses import dataclass, field

from finetune.api.errors import InputError
from trainer.engine.base import Engine
from trainer.evaluation.measurement import Measurement
from trainer.rank.assignment import Assignment
from trainer.rank.ledger import Ledger
from trainer.rank.loading import Loaded
from trainer.rank.outbox import Outbox
from trainer.rank.rows import AugmentedWords
from trainer.rank.state import RunState
from trainer.storage.checkpoint import CheckpointStore, SavedState, best_score
from trainer.storage.ownership import no_checkpoint_left
from trainer.training.loop import StopReason

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """The state in which a run begins: a checkpoint's, or empty. The engine has the weights already."""

    step: int = 0
    tokens_seen: int = 0
    stop_reason: StopReason | None = None
    """Why training had ended before, if it had: then nothing is left to train."""
    ledger: Ledger = field(default_factory=Ledger)
    words: AugmentedWords = field(default_factory=AugmentedWords)
    baseline: Measurement | None = None
    repeated_steps: int = 0

    @classmethod
    def at(cls, state: RunState) -> "Start":
        """Return the start for the state of a checkpoint."""
        return cls(state.step, state.tokens_seen, state.stop_reason, state.ledger, state.words, state.baseline, state.repeated_steps)


def resume(work: Assignment, loaded: Loaded, store: CheckpointStore, outbox: Outbox) -> Start:
    """Return where the run begins, and load the weights of that step into the engine.

    Raises InputError if the checkpoint is of other base weights, or if a finished run has no checkpoint left.
    """
    saved = newest_checkpoint(loaded.engine, store, outbox)
    if saved is None:
        if work.only_results:
            raise no_checkpoint_left(work.place, work.config.job.uid)
        outbox.send(resumed_from_step=0)
        return Start()
    state = RunState.from_wire(saved.trainer_state)
    if loaded.provenance is not None and state.weights != loaded.provenance.digest:
        raise InputError("model", "the weights are not those that the checkpoint was trained on", "restore them, or start a new job")
    start = Start.at(state)
    loaded.engine.load_state(saved.tensors(), start.step)
    # There is none to take over where the precision is the device's choice and the device is another one.
    if loaded.engine.loss_scale is not None and state.loss_scale is not None:
        loaded.engine.loss_scale.load_state(state.loss_scale)
    forget_lost_best(loaded.engine, store, start.ledger, outbox)
    logger.info("resumed from step %d", start.step)
    outbox.send(resumed_from_step=start.step, checkpoints=list(store.records), metrics=start.ledger.metrics)
    return start


def newest_checkpoint(engine: Engine, store: CheckpointStore, outbox: Outbox) -> SavedState | None:
    """Return the newest valid checkpoint on every rank; warn about damaged ones."""
    newest, warnings = store.newest() if engine.rank == 0 else (None, [])
    for warning in warnings:
        outbox.warn(warning)
    found: SavedState | None = engine.broadcast(newest)
    return found


def forget_lost_best(engine: Engine, store: CheckpointStore, ledger: Ledger, outbox: Outbox) -> None:
    """Set `best` to the best existing checkpoint: lost weights cannot become the result."""
    best, left = ledger.metrics.best, engine.broadcast(best_score(store.records) if engine.rank == 0 else None)
    if best is None or (left is not None and left.step == best.step):
        return
    ledger.note(best=left)
    if engine.rank == 0:
        instead = f"that of step {left.step} is the best one left" if left is not None else "no other was validated"
        outbox.warn(f"the checkpoint of step {best.step}, the best until then, is lost: {instead}")
