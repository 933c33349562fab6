"""Where a run begins: at its newest valid checkpoint, at that of the job which it continues, or at step 0.

Rank 0 reads the checkpoints and chooses for all. Tests: tests/trainer/rank/test_resume.py, tests/trainer/rank/test_best.py.
"""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

from finetune.api.earlierjobs import ContinuedFrom, EarlierRun
from finetune.api.errors import InputError
from finetune.api.lineage import length_of
from finetune.api.trainconfig import TrainConfig
from trainer.augmentation.counts import AugmentedRows
from trainer.engine.base import Engine
from trainer.evaluation.measurement import Measurement
from trainer.rank.assignment import Assignment
from trainer.rank.ledger import Ledger
from trainer.rank.loading import Loaded
from trainer.rank.outbox import Outbox
from trainer.rank.state import RunState
from trainer.storage.checkpoint import CheckpointStore, SavedState, best_score
from trainer.storage.localfolder import LocalFolder
from trainer.storage.ownership import Ownership, no_checkpoint_left
from trainer.training.loop import StopReason

logger = logging.getLogger(__name__)

CONTINUED_FIELD = "continueFrom.fineTuneJob"


@dataclass(frozen=True)
class Start:
    """The state in which a run begins: a checkpoint's, or empty. The engine has the weights already."""

    step: int = 0
    tokens_seen: int = 0
    stop_reason: StopReason | None = None
    """Why training had ended before, if it had: then nothing is left to train."""
    ledger: Ledger = field(default_factory=Ledger)
    varied: AugmentedRows = field(default_factory=AugmentedRows)
    baseline: Measurement | None = None
    repeated_steps: int = 0
    continued: ContinuedFrom | None = None
    """The run that this one went on from, now or in an earlier attempt."""
    rewritten: str = ""
    """Digest of what models wrote in place of training texts."""

    @classmethod
    def at(cls, state: RunState) -> "Start":
        """Return the start for the state of a checkpoint."""
        return cls(
            state.step, state.tokens_seen, state.stop_reason, state.ledger, state.varied, state.baseline, state.repeated_steps,
            state.continued, state.rewritten,
        )  # fmt: skip

    def going_on(self, continued: ContinuedFrom) -> "Start":
        """Return the start of a run that goes on from this state with more steps: early stopping begins anew."""
        self.ledger.begin_patience()
        return replace(self, stop_reason=None, continued=continued)


def resume(work: Assignment, loaded: Loaded, store: CheckpointStore, outbox: Outbox) -> Start:
    """Return where the run begins, and load the weights of that step into the engine.

    Raises InputError if the checkpoint is of other base weights, or if a finished run has no checkpoint left.
    """
    saved, earlier = newest_checkpoint(loaded.engine, store, outbox), None
    if saved is None and work.config.continue_from is not None and not work.only_results:
        earlier = work.config.continue_from.fine_tune_job
        saved = checkpoint_of_earlier(loaded.engine, earlier, outbox)
    if saved is None:
        if work.only_results:
            raise no_checkpoint_left(work.place, work.config.job.uid)
        outbox.send(resumed_from_step=0)
        return Start()
    state = RunState.from_wire(saved.trainer_state)
    if loaded.provenance is not None and state.weights != loaded.provenance.digest:
        raise InputError("model", "the weights are not those that the checkpoint was trained on", "restore them, or start a new job")
    start = going_on(work.config, earlier, state) or Start.at(state)
    loaded.engine.load_state(saved.tensors(), start.step)
    # There is none to take over where the precision is the device's choice and the device is another one.
    if loaded.engine.loss_scale is not None and state.loss_scale is not None:
        loaded.engine.loss_scale.load_state(state.loss_scale)
    if earlier is None:
        forget_lost_best(loaded.engine, store, start.ledger, outbox)
    logger.info("resumed from step %d%s", start.step, f" of the job {earlier.name}" if earlier is not None else "")
    if start.continued is not None:
        outbox.send(continued_from=start.continued)
    outbox.send(resumed_from_step=start.step, checkpoints=list(store.records), metrics=start.ledger.metrics)
    return start


def going_on(config: TrainConfig, earlier: EarlierRun | None, state: RunState) -> Start | None:
    """Return the start of a run that goes on from the last checkpoint of a shorter one, None where a checkpoint is of this very run.

    In its own folder a run knows by the length in the checkpoint whether it was shorter; a version that wrote none is believed to be.
    """
    start = Start.at(state)
    if earlier is not None:
        # Its checkpoints are not copied: the best of this job is one of its own.
        start.ledger.note(best=None, validated=None)
        return start.going_on(ContinuedFrom(name=earlier.name, uid=earlier.uid, step=state.step))
    shorter = config.lengthen if state.length is None else dict(state.length) != length_of(config.lineage())
    return start.going_on(ContinuedFrom(name=config.job.name, uid=config.job.uid, step=state.step)) if shorter else None


def checkpoint_of_earlier(engine: Engine, earlier: EarlierRun, outbox: Outbox) -> SavedState:
    """Return the newest valid checkpoint of the job that this one continues, on every rank; only read there."""
    place = LocalFolder(Path(earlier.path))
    store = CheckpointStore(place, Ownership.recorded(place, CONTINUED_FIELD).owner if engine.rank == 0 else "", keep=1)
    saved = newest_checkpoint(engine, store, outbox)
    if saved is None:
        problem = f"no valid checkpoint of the job {earlier.name} is left in {place.uri()}"
        raise InputError(CONTINUED_FIELD, problem, "restore them, or train a new job without continueFrom")
    return saved


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
