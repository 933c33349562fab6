"""The training phase of a run: the loop with its hooks, from where the run begins to its end or a stop.

Test: tests/trainer/rank/test_resume.py.
"""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from finetune.api.lineage import length_of
from finetune.api.record import Stage
from finetune.api.sections import Regularization
from finetune.api.timings import TimedStage
from finetune.api.trainconfig import TrainConfig
from finetune.system.memory import begin_peak
from trainer.augmentation.rewritten import digest_of
from trainer.data.sampler import steps_total
from trainer.evaluation.generalization import remedies_of
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.validation import ValidationResult
from trainer.model.exporter import base_dtype
from trainer.model.untuned import as_base
from trainer.objectives.base import Batch
from trainer.objectives.penalties import Penalties
from trainer.rank.adapting import Adapting
from trainer.rank.assignment import Assignment
from trainer.rank.hooks.checkpoints import SaveCheckpoints, Timers
from trainer.rank.hooks.figures import LogFigures
from trainer.rank.hooks.general import MeasureTexts
from trainer.rank.hooks.order import Hooks
from trainer.rank.hooks.stop import StopOnRequest
from trainer.rank.hooks.validation import Validate
from trainer.rank.loading import Loaded
from trainer.rank.measuring import Measuring
from trainer.rank.outbox import Outbox
from trainer.rank.resuming import Start
from trainer.rank.rows import Batches, Rows
from trainer.rank.state import RunState
from trainer.reporting.background import BackgroundSink
from trainer.reporting.sinks import BufferedSink, FanOut, JsonLinesSink, MetricsSink, NoSink, SinkOpener, TensorBoardSink
from trainer.reporting.stageclock import StageClock
from trainer.storage.checkpoint import CheckpointStore
from trainer.training.ahead import Ahead
from trainer.training.figures import StepResult
from trainer.training.loop import Progress, StepBatches, StopReason, Supervision, train

logger = logging.getLogger(__name__)


def progress_at(start: Start, config: TrainConfig, rows: Rows) -> Progress:
    """Return the progress before the first step of this attempt."""
    drawn = rows.per_epoch(config)
    total, steps_per_epoch = steps_total(drawn, config.training), drawn / config.training.global_batch_size
    return Progress(total, steps_per_epoch, step=start.step, tokens_seen=start.tokens_seen, stop_reason=start.stop_reason,
                    repeated_steps=start.repeated_steps)  # fmt: skip


def train_model(work: Assignment, loaded: Loaded, rows: Rows, start: Start, baseline: Measurement | None, measuring: Measuring,
                adapting: Adapting, store: CheckpointStore, outbox: Outbox) -> Progress:  # fmt: skip
    """Train to the end, to early stopping, or until the driver asks to stop; a run that was already trained returns at once."""
    progress = progress_at(start, work.config, rows)
    if work.only_results:
        return progress
    outbox.send(stage=Stage.TRAINING, progress=progress.to_record())
    clock = work.clock
    clock.begin(TimedStage.FIRST_STEP)
    engine, config, ledger = loaded.engine, work.config, start.ledger

    def state(progress: Progress) -> dict[str, Any]:
        at = state_at(progress, loaded, start, baseline)
        return replace(at, known=work.inputs.task.known, length=length_of(config.lineage()), rewritten=rewritten).to_wire()

    rewritten = digest_of(rows.rewritten) if rows.rewritten else ""
    prepare = Batches(
        work.inputs.task, config, rows.train, loaded.tokenizer, engine, packed=loaded.packed, replay=rows.replay, rewritten=rows.rewritten
    ).prepare
    timers = Timers(lambda: clock.within(TimedStage.CHECKPOINTS), lambda: clock.beside(TimedStage.SAVING))
    with (
        open_sinks(work, engine.rank, start.step) as sinks,
        SaveCheckpoints(engine, store, config, ledger, outbox, state, sinks.flush, timers) as checkpoints,
        Ahead(prepare, progress.total_steps) as ahead,
    ):

        def batches(step: int) -> StepBatches[Batch]:
            prepared = ahead(step)
            start.varied.add(prepared.varied)
            return prepared.batches

        hooks = hooks_of(config, rows, measuring, adapting, sinks, checkpoints, clock)
        hooks.make_up(ledger, progress)
        supervision, penalties = first_step_timed(hooks.supervision(), clock), penalties_of(config.regularization, engine.model)
        if engine.device.type == "cpu":
            begin_peak()  # that of loading is not needed again
        train(engine, loaded.forward, work.inputs.task.objective, batches, config.training, penalties, progress, supervision)
    return progress


def penalties_of(regularization: Regularization, model: Any) -> Penalties:
    """Return what the job adds to the loss of the model under training."""
    return Penalties(
        regularization.label_smoothing, regularization.r_drop_alpha, regularization.base_kl_weight, as_base=partial(as_base, model)
    )


def first_step_timed(supervision: Supervision, clock: StageClock) -> Supervision:
    """Return the supervision that also ends the stage of the first step, when its figures are there."""

    def note(result: StepResult) -> None:
        clock.begin(TimedStage.TRAINING)
        supervision.note(result)

    return replace(supervision, note=note)


def hooks_of(config: TrainConfig, rows: Rows, measuring: Measuring, adapting: Adapting, sinks: MetricsSink,
             checkpoints: SaveCheckpoints, clock: StageClock) -> Hooks:  # fmt: skip
    """Return this rank's hooks."""
    ledger, outbox, engine = measuring.ledger, measuring.outbox, measuring.loaded.engine
    stop, every, stopping = StopOnRequest(engine, outbox), validation_every(config, rows), config.regularization.early_stopping

    def validate() -> ValidationResult:
        with clock.within(TimedStage.VALIDATION):
            return measuring.validate(stop.between_batches)

    def warn(text: str) -> None:
        if engine.rank == 0 and text not in outbox.warnings:
            outbox.warn(text)

    def measure_texts(step: int) -> Mapping[str, float]:
        with clock.within(TimedStage.VALIDATION):
            return adapting.at_step(step, stop.between_batches)

    return Hooks(
        figures=LogFigures(ledger, sinks, outbox, logger.info) if engine.rank == 0 else None,
        validation=Validate(validate, every, stopping, ledger, sinks, outbox, warn, remedies=remedies_of(config))
        if every and rows.validation
        else None,
        stop=stop,
        checkpoints=checkpoints,
        texts=MeasureTexts(measure_texts, every, ledger, sinks, outbox) if every and adapting.measures else None,
    )


def validation_every(config: TrainConfig, rows: Rows) -> int | None:
    """Return the number of steps between validations, by default one epoch; None without rows or texts to measure."""
    steps_per_epoch = rows.per_epoch(config) / config.training.global_batch_size
    return (config.evaluation.every_steps or max(1, round(steps_per_epoch))) if rows.validation or rows.general or rows.domain else None


def open_sinks(work: Assignment, rank: int, resumed_from_step: int) -> AbstractContextManager[BufferedSink]:
    """Return the sinks of rank 0, which open with the first figures; other ranks have none."""
    if rank != 0:
        return nullcontext(NoSink())
    lines, board = work.directory / "metrics.jsonl", work.directory / "tensorboard"
    openers: list[SinkOpener] = [lambda: JsonLinesSink(lines, resumed_from_step), lambda: TensorBoardSink(board, resumed_from_step)]
    return BackgroundSink(lambda: FanOut([*openers, *work.sinks]))


def state_at(progress: Progress, loaded: Loaded, start: Start, baseline: Measurement | None) -> RunState:
    """Return the state to save in a checkpoint now. Raises RuntimeError on ranks other than 0, which write none."""
    if loaded.provenance is None:
        raise RuntimeError(f"rank {loaded.engine.rank} does not know where the weights come from")
    return RunState(
        step=progress.step,
        tokens_seen=progress.tokens_seen,
        world_size=loaded.engine.world_size,
        stop_reason=progress.stop_reason if progress.stop_reason is not StopReason.INTERRUPTED else None,
        ledger=start.ledger,
        varied=start.varied,
        baseline=baseline,
        weights=loaded.provenance.digest,
        revision=loaded.provenance.revision,
        dtype=str(base_dtype(loaded.engine.model)).removeprefix("torch."),
        loss_scale=loaded.engine.loss_scale.to_state() if loaded.engine.loss_scale is not None else None,
        repeated_steps=progress.repeated_steps,
        continued=start.continued,
    )
