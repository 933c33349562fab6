"""After training: the weights of the best validation become the result, if their checkpoint is valid.

Rank 0 reads the checkpoints and chooses for all. Test: tests/trainer/rank/test_best.py.
"""

import logging

from trainer.engine.base import Engine
from trainer.rank.ledger import Ledger
from trainer.rank.outbox import Outbox
from trainer.storage.checkpoint import CheckpointStore, SavedState, best_score

logger = logging.getLogger(__name__)


def take_best_weights(engine: Engine, store: CheckpointStore, ledger: Ledger, outbox: Outbox, last_step: int) -> int:
    """Load the weights of the best valid checkpoint into the engine; return their step, and set `best` to it."""
    saved = engine.broadcast(best_checkpoint(store, outbox, last_step) if engine.rank == 0 else None)
    step = last_step
    if saved is not None:
        step = saved.record.step
        engine.load_parameters(saved.tensors())
        logger.info("took the weights of step %d, the best on the validation rows", step)
    taken = [record for record in store.records if record.step == step]
    if engine.rank == 0 and ledger.metrics.best is not None and ledger.metrics.best.step != step:
        ledger.note(best=best_score(taken))
    return step


def best_checkpoint(store: CheckpointStore, outbox: Outbox, last_step: int) -> SavedState | None:
    """Return the best valid checkpoint, or None if the last weights are best; warn about better ones that are damaged."""
    found, faults = store.best(last_step)
    taken = last_step if found is None else found.record.step
    for fault in faults:
        outbox.warn(f"{fault}: the weights of step {taken} are used")
    return found


def within_budget(store: CheckpointStore, step: int) -> bool | None:
    """Return whether the weights of a step are within the job's budget for general texts; None where that is not known."""
    return next((record.within_budget for record in store.records if record.step == step), None)
