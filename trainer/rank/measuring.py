"""Evaluates base and tuned model on the test rows, and the current model on the validation rows during training.

Every rank takes part and gets the same figures. Test: tests/trainer/rank/test_measuring.py, tests/trainer/rank/test_resume.py.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from finetune.api.evaluation import Generation
from finetune.api.metrics import MetricName
from finetune.api.record import Stage
from finetune.api.trainconfig import TrainConfig
from trainer.data.rows import Dataset, Sample
from trainer.engine.factory import engine_settings
from trainer.evaluation.comparison import Comparison, compare
from trainer.evaluation.evaluator import measure
from trainer.evaluation.generalization import mean_loss, measured_loss, sampled
from trainer.evaluation.heldout import HeldOut
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.metrics.registry import left_out_finding
from trainer.evaluation.validation import ValidationResult
from trainer.model.lora import adapters_off
from trainer.rank.ledger import Ledger, MetricsUpdate
from trainer.rank.loading import Loaded
from trainer.rank.outbox import Outbox
from trainer.rank.rows import Rows
from trainer.reporting.guessing import LIKELIHOODS
from trainer.tasks.base import Task
from trainer.training.batches import AtOnce


@dataclass(frozen=True)
class Measuring:
    """The model, the rows to evaluate it on, and where the figures go."""

    task: Task[Any]
    config: TrainConfig
    dataset: Dataset
    loaded: Loaded
    rows: Rows
    ledger: Ledger
    outbox: Outbox

    @property
    def base_outlives_training(self) -> bool:
        """Whether the base model can still be measured after training: its weights are frozen, adapters can be switched off."""
        return self.config.method.adapts

    def baseline(self) -> Measurement:
        """Evaluate the base model on the test rows: before training, unless `base_outlives_training`.

        Its score is the job's only where it is measured before training; afterwards it would hide that of a newer validation.
        """
        with adapters_off(self.loaded.engine.model) if self.base_outlives_training else nullcontext():
            found = self._on_test_rows(Stage.BASELINE, "base")
        noted: MetricsUpdate = {"baseline": found.values()}
        if not self.base_outlives_training:
            noted["score"] = found.score(self.config.judged_by(self.task.route), step=0)
        self.ledger.note(**noted)
        self.outbox.send(metrics=self.ledger.metrics)
        return found

    def final(self, step: int) -> Measurement:
        """Evaluate the weights of `step`, which are the result, on the test rows."""
        found = self._on_test_rows(Stage.FINAL, "tuned")
        self.ledger.note(final=found.values(), score=found.score(self.config.judged_by(self.task.route), step) or self.ledger.metrics.score)
        return found

    def compared(self, base: Measurement, tuned: Measurement, *, guessed: bool) -> Comparison:
        """Return how certain the figures are, and whether the models differ. On rank 0: other ranks get nothing, and need not wait.

        Beside a base model that guessed no likelihood is better or worse: any training lowers that of guessing.
        """
        if self.loaded.engine.rank != 0:
            return Comparison()
        found = compare(base, tuned)
        found = found.without_verdict(LIKELIHOODS) if guessed else found
        self.ledger.note(compared=found.in_short(tuned.figures))
        return found

    def validate(self, between: Callable[[], None]) -> ValidationResult:
        """Evaluate on the validation rows; `between` is called on every rank before each batch and may raise, on all ranks or none."""
        config, route = self.config, self.task.route
        found = self._measure(self.dataset.validation, self.rows.validation, config.validated_metrics(route), between)
        losses = self._losses(found, between)
        return ValidationResult(found.values(), judged_by=config.judged_by(route), watched=config.watched(route), losses=losses)

    def _losses(self, found: Measurement, between: Callable[[], None]) -> tuple[float, float]:
        """Return the mean loss of sampled training rows as they are on disk, unvaried, and of the validation rows.

        Where `found` does not tell the latter, as where spans are chosen, a sample of them is measured too.
        """

        def loss_of(rows: Sequence[Sample], what: str) -> float:
            some = sampled(rows, len(self.rows.validation), self.config.training.seed, what)
            return mean_loss(self.loaded.engine, self.loaded.forward, self.task.objective, some, self.at_once, between)

        held_out = measured_loss(found)
        return loss_of(self.rows.train.samples, "train"), loss_of(self.rows.validation, "validation") if held_out is None else held_out

    def on_test_rows(self, names: Sequence[MetricName]) -> Measurement:
        """Return these figures of the model as it is, on the test rows."""
        return self._measure(self.dataset.test, self.rows.test, names)

    def _on_test_rows(self, stage: Stage, model: str) -> Measurement:
        self.outbox.send(stage=stage)
        if not self.rows.test:
            return Measurement()
        names = self.config.test_metrics(self.task.route)
        found = self._measure(self.dataset.test, self.rows.test, names, self.outbox.gets_on)
        if self.loaded.engine.rank == 0:
            warn_left_out(found, model, self.outbox)
        return found

    def _measure(
        self, examples: Sequence[Any], rows: Sequence[Sample], names: Sequence[MetricName], between: Callable[[], None] = lambda: None
    ) -> Measurement:
        config = self.config
        held_out = HeldOut(
            self.task, self.loaded.tokenizer, examples, rows, self.at_once,
            config.training.max_sequence_length, config.evaluation.generation or Generation(),
            config.evaluation.text_normalization, tagged=examples is self.dataset.test,
        )  # fmt: skip
        return measure(self.loaded.engine, self.loaded.forward, held_out, names, between)

    @property
    def at_once(self) -> AtOnce:
        """Return how much is computed at once."""
        return at_once(self.config, self.rows, packed=self.loaded.packed)


def at_once(config: TrainConfig, rows: Rows, *, packed: bool) -> AtOnce:
    """Return how much is computed at once: as much as the largest micro-batch of training has, however long the held-out rows are.

    Both bounds of packed rows are reached in training: some micro-batch holds the longest row, and some holds at least the
    average number of tokens.
    """
    settings, shard, tokens = engine_settings(config), rows.train.shard, None
    if packed:
        in_one = config.training.global_batch_size / config.workers.world_size / settings.micro_batches_per_step
        tokens = max(rows.longest, int(in_one * shard.tokens / max(1, shard.pieces)))
    return AtOnce(settings.micro_batch_size, settings.micro_batch_size * rows.longest, tokens)


def warn_left_out(found: Measurement, model: str, outbox: Outbox) -> None:
    """Warn about figures undefined for this model's answers; those undefined for the references are already findings."""
    for name, figure in found.figures.items():
        if figure.reason is not None and left_out_finding(name, figure.reason) not in outbox.warnings:
            outbox.warn(left_out_finding(f"{name} of the {model} model", figure.reason))
