"""One rank's run: load, resume, baseline, train, final, export, report. Every rank takes every step; rank 0 alone writes.

Test: tests/trainer/rank/test_run.py (real Ray, a small model).
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import torch

from finetune.api.errors import InputError
from finetune.api.record import WARNINGS_MAX, OutputRecord, Stage
from finetune.api.tasks import TASKS
from finetune.api.trainconfig import TrainConfig
from trainer.augmentation.augmenter import Augmenter
from trainer.data.rows import Example, Piece, Sample
from trainer.data.sampler import batch_at, steps_total
from trainer.engine.factory import build_engine, engine_settings, uses_bfloat16, weights_dtype
from trainer.evaluation.evaluator import Measurement, measure
from trainer.model.exporter import base_dtype
from trainer.model.load import load_model, provenance_of
from trainer.model.location import locate
from trainer.model.lora import apply_method
from trainer.model.recompute import recompute_activations
from trainer.objectives.base import Batch
from trainer.preflight.findings_evaluation import left_out_finding
from trainer.preflight.inputs import Inputs, tokenizer_for
from trainer.rank.hooks import INTERRUPTED, Ledger, LogFigures, SaveCheckpoints, StopOnRequest, Validate, catch_up
from trainer.rank.results import add_exports, reported, write_results
from trainer.reporting.messages import RecordUpdate, Sender, Silent
from trainer.reporting.sinks import FanOut, JsonLinesSink, MetricsSink, SinkOpener, TensorBoardSink
from trainer.storage.checkpoint import CheckpointStore, SavedState, best_score
from trainer.storage.ownership import no_checkpoint_left
from trainer.tasks.registry import task_of
from trainer.training.batches import deal
from trainer.training.loop import Hook, Progress, train

logger = logging.getLogger(__name__)


class Run:
    """The state of one rank's run; `execute` is the story."""

    def __init__(self, config: TrainConfig, inputs: Inputs, owner: str, sender: Sender, sinks: Sequence[SinkOpener],
                 *, trained: bool = False) -> None:  # fmt: skip
        """`trained`: the run was finished before, and what is missing of its results is made from its checkpoints."""
        self.config, self.inputs, self.sender, self.more_sinks, self.trained = config, inputs, sender, sinks, trained
        self.task = task_of(config.task)
        self.directory = Path(config.output.directory)
        self.uri = config.output.uri or str(self.directory)
        self.store = CheckpointStore(self.directory, self.uri, owner, config.checkpoint.keep)
        self.ledger = Ledger()
        self.words_changed = self.words_seen = self.resumed_from_step = 0
        self.warnings = list(inputs.findings)

    def execute(self) -> None:
        """Take the run to its end, or to the stop that the driver asked for."""
        self.load()
        saved = self.find_checkpoint()
        baseline = self.baseline(saved)
        progress = self.train(saved, baseline)
        if progress.stop_reason == INTERRUPTED:
            return
        step = self.take_best_weights(progress)
        if self.engine.broadcast(reported(self, step) is not None if self.engine.rank == 0 else None):
            add_exports(self, step, progress)
            return
        final = self.measure(Stage.FINAL)
        self.ledger.note(final=final.figures(), score=final.score(self.config.task, step) or self.ledger.metrics.score)
        self.send(stage=Stage.EXPORTING, metrics=self.ledger.metrics, checkpoints=list(self.store.records))
        write_results(self, step, progress, baseline, final)

    def send(self, **changes: Unpack[RecordUpdate]) -> None:
        """Send fields of the progress record, from rank 0 alone."""
        if self.engine.rank == 0:
            self.sender.send(**changes)

    def load(self) -> None:
        """Load tokenizer and model on this node, and put the engine around the model."""
        config = self.config
        # By what the job asked for: a worker without a GPU of its own may see those of others.
        device = torch.device("cuda", torch.cuda.current_device()) if config.workers.gpus_per_worker > 0 else torch.device("cpu")
        dtype, self.bfloat16 = weights_dtype(config, device), uses_bfloat16(config, device)
        self.located = locate(self.inputs.located.pinned())
        self.tokenizer = tokenizer_for(self.task, self.located, self.inputs.template_time)
        self.engine = build_engine(config, lambda: self.trainable_model(dtype), device)
        self.provenance = provenance_of(self.located, dtype, self.inputs.weights_digest) if self.engine.rank == 0 else None
        if self.provenance is not None:
            found = self.provenance
            logger.info("weights of %s from %s, %s, %s", found.name, found.source, found.precision, found.digest)
        self.send(model=self.provenance, output=OutputRecord(uri=self.uri))
        self.tokenize_rows()

    def trainable_model(self, dtype: torch.dtype) -> Any:
        """Load the weights and make the model what the job trains."""
        training = self.config.training
        model = load_model(self.located, dtype)
        if training.gradient_checkpointing:
            model = recompute_activations(model)
        return apply_method(model, self.config.method, self.config.regularization, training.seed)

    def tokenize_rows(self) -> None:
        """Tokenize all rows once; a training row that augmentation changes is tokenized again when it is drawn."""
        self.augmenter = Augmenter(self.config.augmentation, self.config.training.seed) if self.config.augmentation else None
        dataset = self.inputs.dataset
        self.validation_rows, self.test_rows = (
            [piece.tokens for piece in self.pieces(rows)] for rows in (dataset.validation, dataset.test)
        )
        self.train_pieces = self.pieces(dataset.train)

    def pieces(self, examples: Sequence[Example]) -> list[Piece[Any]]:
        """Return the rows that examples become: of a text longer than the job's length several."""
        return [
            piece for example in examples for piece in self.task.encode(example, self.tokenizer, self.config.training.max_sequence_length)
        ]

    def find_checkpoint(self) -> SavedState | None:
        """Find the newest sound checkpoint and give it to the engine; rank 0 chooses for all."""
        newest, warnings = self.store.newest() if self.engine.rank == 0 else (None, [])
        for warning in warnings:
            self.warn(warning)
        found: SavedState | None = self.engine.broadcast(newest)
        if found is None:
            if self.trained:
                raise no_checkpoint_left(self.directory, self.config.job.uid)
            self.send(resumed_from_step=0)
            return None
        step = int(found.trainer_state["step"])
        if self.provenance is not None and found.trainer_state["weights"] != self.provenance.digest:
            raise InputError("model", "the weights are not those that the checkpoint was trained on", "bring them back, or begin a new job")
        self.engine.load_state(found.engine_state(), step)
        self.ledger.load_state(found.trainer_state["ledger"])
        self.forget_lost_best()
        self.words_changed, self.words_seen = found.trainer_state["augmentation"]
        self.resumed_from_step = step
        logger.info("resumed from step %d", step)
        self.send(resumed_from_step=step, checkpoints=list(self.store.records), metrics=self.ledger.metrics)
        return found

    def baseline(self, saved: SavedState | None) -> Measurement:
        """Measure the untouched base model, or take its figures from the checkpoint."""
        if saved is not None:
            return Measurement.from_state(saved.trainer_state["baseline"])
        baseline = self.measure(Stage.BASELINE)
        self.ledger.note(baseline=baseline.figures(), score=baseline.score(self.config.task, step=0))
        self.send(metrics=self.ledger.metrics)
        return baseline

    def measure(self, stage: Stage) -> Measurement:
        """Measure the model as it is on the test rows."""
        self.send(stage=stage)
        if not self.test_rows:
            return Measurement()
        config = self.config
        measured = measure(
            self.engine, self.task, self.tokenizer, self.inputs.dataset.test, self.test_rows, config.evaluation,
            self.rows_at_once, self.tokens_at_once, config.training.max_sequence_length,
        )  # fmt: skip
        if self.engine.rank == 0:
            self.tell_left_out(measured, "base" if stage is Stage.BASELINE else "tuned")
        return measured

    @property
    def rows_at_once(self) -> int:
        """Rows of an evaluation's forward pass: those of training, so that what fits there fits here."""
        return engine_settings(self.config).micro_batch_size

    @property
    def tokens_at_once(self) -> int:
        """Tokens of an evaluation's forward pass: those of the largest micro-batch, however long the held-out rows are."""
        return self.rows_at_once * max(len(piece.tokens.input_ids) for piece in self.train_pieces)

    def tell_left_out(self, measured: Measurement, model: str) -> None:
        """Warn of figures that are undefined for this model's answers; those that the references forbid are findings already."""
        for name, figure in measured.text.items():
            if figure.reason is not None and left_out_finding(name, figure.reason) not in self.warnings:
                self.warn(left_out_finding(f"{name} of the {model} model", figure.reason))

    def train(self, saved: SavedState | None, baseline: Measurement) -> Progress:
        """Train to the end, to early stopping, or to the stop that was asked for."""
        training, rows = self.config.training, len(self.train_pieces)
        progress = Progress(steps_total(rows, training), rows / training.global_batch_size)
        if saved is not None:
            progress.step, progress.tokens_seen = int(saved.trainer_state["step"]), int(saved.trainer_state["tokensSeen"])
            progress.stop_reason = saved.trainer_state["stopReason"]
        if self.trained:
            return progress
        self.send(stage=Stage.TRAINING, progress=progress.to_record())
        hooks = self.hooks(progress, saved, baseline)
        if self.ledger.owes_validation:
            catch_up(hooks, self.ledger, progress)
        train(self.engine, self.task.objective, self.micro_batches, training, self.config.regularization.label_smoothing, progress, hooks)
        return progress

    def micro_batches(self, step: int) -> list[Batch]:
        """Return this rank's micro-batches of a step; a function of the step, so that a resumed run sees the same."""
        training = self.config.training
        places = batch_at(step, len(self.train_pieces), training.global_batch_size, training.seed)
        rows = [self.row(epoch, index) for epoch, index in places]
        dealt = deal(rows, self.engine.rank, self.engine.world_size, training.micro_batch_size)
        return [self.task.objective.collate(own) for own in dealt]

    def row(self, epoch: int, index: int) -> Sample:
        """Return a training row as it is in an epoch; counts the words that augmentation changed."""
        piece = self.train_pieces[index]
        if self.augmenter is None:
            return piece.tokens
        tokens, changed, words = self.augmenter.sample(self.task, piece, epoch, self.tokenizer, self.config.training.max_sequence_length)
        self.words_changed += changed
        self.words_seen += words
        return tokens

    def hooks(self, progress: Progress, saved: SavedState | None, baseline: Measurement) -> list[Hook]:
        """Return what happens after a step, in order: figures first, then what may end training, checkpoints last."""
        config, hooks = self.config, list[Hook]()
        sinks = self.sinks(progress.step)
        sender: Sender = self.sender if self.engine.rank == 0 else Silent()
        if self.engine.rank == 0:
            hooks.append(LogFigures(self.ledger, sinks, self.sender, logger.info))
        stop = StopOnRequest(self.engine, sender)
        if self.validation_rows:
            every = self.validation_every(progress) or 1
            hooks.append(
                Validate(
                    self.engine, self.validation_rows, every, self.rows_at_once, self.ledger,
                    TASKS[config.task].score, config.regularization.early_stopping, sinks, sender, stop, self.tokens_at_once,
                )
            )  # fmt: skip
        hooks.append(stop)
        hooks.append(SaveCheckpoints(self.engine, self.store, config, self.ledger, sender, lambda: self.extra_state(baseline)))
        return hooks

    def validation_every(self, progress: Progress) -> int | None:
        """Return the steps between validations, by default once an epoch; None without validation rows."""
        return (self.config.evaluation.every_steps or max(1, round(progress.steps_per_epoch))) if self.validation_rows else None

    def sinks(self, resumed_from_step: int) -> MetricsSink:
        """Return where rank 0's figures go; the other ranks have no sinks."""
        if self.engine.rank != 0:
            return FanOut([])
        lines, board = self.directory / "metrics.jsonl", self.directory / "tensorboard"
        openers: list[SinkOpener] = [lambda: JsonLinesSink(lines, resumed_from_step), lambda: TensorBoardSink(board, resumed_from_step)]
        return FanOut([*openers, *self.more_sinks])

    def extra_state(self, baseline: Measurement) -> dict[str, Any]:
        """Return what a checkpoint keeps besides step, tokens and ledger."""
        state = {"baseline": baseline.to_state(), "augmentation": [self.words_changed, self.words_seen]}
        if self.provenance is None:
            return state
        # With the dtype and the commit of the hub, `finetune export` finds the same base again.
        dtype = str(base_dtype(self.engine.model)).removeprefix("torch.")
        return state | {"weights": self.provenance.digest, "revision": self.provenance.revision, "dtype": dtype}

    def forget_lost_best(self) -> None:
        """Let `best` name the best of the checkpoints that are there: weights that are lost cannot become the result."""
        best, left = self.ledger.metrics.best, self.engine.broadcast(best_score(self.store.records) if self.engine.rank == 0 else None)
        if best is None or (left is not None and left.step == best.step):
            return
        self.ledger.note(best=left)
        if self.engine.rank == 0:
            instead = f"that of step {left.step} is the best one left" if left is not None else "no other was validated"
            self.warn(f"the checkpoint of step {best.step}, the best until then, is lost: {instead}")

    def take_best_weights(self, progress: Progress) -> int:
        """Take the weights of the best validation whose checkpoint is sound and return their step, which `best` then names."""
        saved = self.engine.broadcast(self.best_checkpoint(progress.step) if self.engine.rank == 0 else None)
        step = progress.step
        if saved is not None:
            step = saved.record.step
            self.engine.load_state(saved.engine_state(), step)
            logger.info("took the weights of step %d, the best on the validation rows", step)
        taken = [record for record in self.store.records if record.step == step]
        if self.engine.rank == 0 and self.ledger.metrics.best is not None and self.ledger.metrics.best.step != step:
            self.ledger.note(best=best_score(taken))
        return step

    def best_checkpoint(self, last_step: int) -> SavedState | None:
        """Return the best sound checkpoint, or None when the last weights are to be taken; tells of those that were passed over."""
        found, faults = self.store.best(last_step)
        taken = last_step if found is None else found.record.step
        for fault in faults:
            self.warn(f"{fault}: the weights of step {taken} are taken")
        return found

    def warn(self, text: str) -> None:
        """Put a warning into log, report and progress record, before those about the data, of which there may be many."""
        logger.warning("%s", text)
        self.warnings.insert(0, text)
        self.send(warnings=self.warnings[:WARNINGS_MAX])
