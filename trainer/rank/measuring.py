"""Evaluates base and tuned model on the test rows, and the current model on the validation rows during training.

Every rank takes part and gets the same figures. Test: tests/trainer/rank/test_measuring.py, tests/trainer/rank/test_resume.py.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from finetune.api.metrics import MetricName
from finetune.api.record import Stage
from finetune.api.sections import Generation
from finetune.api.tasks import TASKS
from finetune.api.trainconfig import TrainConfig
from trainer.data.rows import Dataset, Sample
from trainer.engine.factory import engine_settings
from trainer.evaluation.evaluator import HeldOut, measure
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.metrics.registry import left_out_finding
from trainer.evaluation.validation import ValidationResult
from trainer.model.lora import adapters_off
from trainer.rank.ledger import Ledger, MetricsUpdate
from trainer.rank.loading import Loaded
from trainer.rank.outbox import Outbox
from trainer.rank.rows import Rows
from trainer.tasks.registry import task_of


@dataclass(frozen=True)
class Measuring:
    """The model, the rows to evaluate it on, and where the figures go."""

    config: TrainConfig
    dataset: Dataset
    loaded: Loaded
    rows: Rows
    ledger: Ledger
    outbox: Outbox

    @property
    def base_outlives_training(self) -> bool:
        """Whether the base model can still be measured after training: its weights are frozen, adapters can be switched off."""
        return self.config.method.lora is not None

    def baseline(self) -> Measurement:
        """Evaluate the base model on the test rows: before training, unless `base_outlives_training`.

        Its score is the job's only where it is measured before training; afterwards it would hide that of a newer validation.
        """
        with adapters_off(self.loaded.engine.model) if self.base_outlives_training else nullcontext():
            found = self._on_test_rows(Stage.BASELINE, "base")
        noted: MetricsUpdate = {"baseline": found.values()}
        if not self.base_outlives_training:
            noted["score"] = found.score(self.config.task, step=0)
        self.ledger.note(**noted)
        self.outbox.send(metrics=self.ledger.metrics)
        return found

    def final(self, step: int) -> Measurement:
        """Evaluate the weights of `step`, which are the result, on the test rows."""
        found = self._on_test_rows(Stage.FINAL, "tuned")
        self.ledger.note(final=found.values(), score=found.score(self.config.task, step) or self.ledger.metrics.score)
        return found

    def validate(self, between: Callable[[], None]) -> ValidationResult:
        """Evaluate on the validation rows; `between` is called on every rank before each batch and may raise, on all ranks or none."""
        facts = TASKS[self.config.task]
        found = self._measure(self.dataset.validation, self.rows.validation, facts.validated, between)
        return ValidationResult(found.values(), judged_by=facts.score)

    def _on_test_rows(self, stage: Stage, model: str) -> Measurement:
        self.outbox.send(stage=stage)
        if not self.rows.test:
            return Measurement()
        names = self.config.evaluation.metrics_of(self.config.task)
        found = self._measure(self.dataset.test, self.rows.test, names)
        if self.loaded.engine.rank == 0:
            warn_left_out(found, model, self.outbox)
        return found

    def _measure(
        self, examples: Sequence[Any], rows: Sequence[Sample], names: Sequence[MetricName], between: Callable[[], None] = lambda: None
    ) -> Measurement:
        config = self.config
        held_out = HeldOut(
            task_of(config.task), self.loaded.tokenizer, examples, rows, self.rows_at_once, self.tokens_at_once,
            config.training.max_sequence_length, config.evaluation.generation or Generation(), self.packed_tokens,
        )  # fmt: skip
        return measure(self.loaded.engine, self.loaded.forward, held_out, names, between)

    @property
    def rows_at_once(self) -> int:
        """Rows of a forward pass: as many as in training, so that they fit in memory."""
        return engine_settings(self.config).micro_batch_size

    @property
    def tokens_at_once(self) -> int:
        """Tokens of a forward pass: as many as in the largest micro-batch, however long the held-out rows are."""
        return self.rows_at_once * self.rows.longest

    @property
    def packed_tokens(self) -> int | None:
        """Tokens of a forward pass over packed rows: no more than the largest micro-batch of training has; None if rows are padded.

        Both bounds are reached in training: some micro-batch holds the longest row, and some holds at least the average number of tokens.
        """
        if not self.loaded.packed:
            return None
        settings, shard = engine_settings(self.config), self.rows.train.shard
        rows_of_a_micro_batch = self.config.training.global_batch_size / self.config.workers.world_size / settings.micro_batches_per_step
        return max(shard.longest, int(rows_of_a_micro_batch * shard.tokens / max(1, shard.pieces)))


def warn_left_out(found: Measurement, model: str, outbox: Outbox) -> None:
    """Warn about figures undefined for this model's answers; those undefined for the references are already findings."""
    for name, figure in found.figures.items():
        if figure.reason is not None and left_out_finding(name, figure.reason) not in outbox.warnings:
            outbox.warn(left_out_finding(f"{name} of the {model} model", figure.reason))
