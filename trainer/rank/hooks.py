"""What happens after a step: figures, validation with early stopping, checkpoints, a wish to stop.

Hooks run on every rank in the same order, because validation and checkpoints need all ranks; only rank 0 writes.
Test: tests/trainer/rank/test_hooks.py.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from finetune.api.metrics import METRICS, MetricName, better, score_of
from finetune.api.record import Metrics
from finetune.api.sections import EarlyStopping
from finetune.api.trainconfig import TrainConfig
from trainer.data.rows import Sample
from trainer.engine.base import Engine
from trainer.evaluation.evaluator import measure_perplexity, perplexity_figures
from trainer.objectives.causal import CAUSAL
from trainer.reporting.messages import Sender
from trainer.reporting.sinks import MetricsSink
from trainer.storage.checkpoint import CheckpointStore
from trainer.training.loop import Progress, StepResult

EARLY_STOP, INTERRUPTED = "EarlyStopped", "Interrupted"
ANSWER_SECONDS = 0.2
"""How long the answer to this step's report is waited for: it takes a millisecond, and without it a stop costs a step more."""


class MeasurementStoppedError(Exception):
    """The run is to stop in the middle of a validation; raised on all ranks at the same batch."""


class Ledger:
    """Quality figures of the run so far, in the form of the progress record; part of every checkpoint."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.evaluations_without_improvement = 0
        self.improvement_reference: float | None = None
        """The value that early stopping compares with: it moves by minDelta at least, the best by any amount."""
        self.owes_validation = False
        """A stop ended the validation of the present step; whoever goes on makes up for it first."""

    def note(self, **fields: Any) -> None:
        """Replace fields of the metrics."""
        self.metrics = self.metrics.model_copy(update=fields)

    def latest(self, figures: Mapping[MetricName, float]) -> None:
        """Merge newest figures."""
        self.note(latest={**self.metrics.latest, **figures})

    def to_state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "metrics": self.metrics.to_wire(),
            "evaluationsWithoutImprovement": self.evaluations_without_improvement,
            "improvementReference": self.improvement_reference,
            "owesValidation": self.owes_validation,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint kept."""
        self.metrics = Metrics.model_validate(state["metrics"])
        self.evaluations_without_improvement = int(state["evaluationsWithoutImprovement"])
        self.improvement_reference = state["improvementReference"]
        self.owes_validation = bool(state.get("owesValidation", False))


class LogFigures:
    """Rank 0: every step's figures to the sinks and the progress record, and one line a step for the log."""

    def __init__(self, ledger: Ledger, sinks: MetricsSink, sender: Sender, write_line: Callable[[str], None]) -> None:
        self._ledger, self._sinks, self._sender, self._write_line = ledger, sinks, sender, write_line

    def after_step(self, progress: Progress, result: StepResult) -> None:
        """Log the step."""
        advance = progress.to_record()
        values = {"trainLoss": result.train_loss, "gradientNorm": result.gradient_norm, "learningRate": result.learning_rate,
                  "lossTokens": float(result.loss_tokens), "tokensSeen": float(advance.tokens_seen)}  # fmt: skip
        if advance.tokens_per_second is not None:
            values["tokensPerSecond"] = advance.tokens_per_second
        self._sinks.log(progress.step, values)
        self._ledger.latest({MetricName.TRAIN_LOSS: result.train_loss})
        self._sender.send(progress=advance, metrics=self._ledger.metrics)
        rate = f"{advance.tokens_per_second:8.0f}" if advance.tokens_per_second else "       -"
        self._write_line(
            f"step {progress.step}/{progress.total_steps}  loss {result.train_loss:.4f}  gradient norm {result.gradient_norm:.3f}  "
            f"learning rate {result.learning_rate:.2e}  tokens/s {rate}"
        )


class Validate:
    """Score of the validation rows every so many steps and at the last; best so far; early stopping."""

    def __init__(self, engine: Engine, rows: Sequence[Sample], every_steps: int, batch_size: int, ledger: Ledger,
                 score: MetricName, early_stopping: EarlyStopping | None, sinks: MetricsSink, sender: Sender, stop: "StopOnRequest",
                 tokens_at_once: int | None = None) -> None:  # fmt: skip
        self._engine, self._rows, self._every, self._batch_size = engine, rows, every_steps, batch_size
        self._ledger, self._score, self._early_stopping, self._sinks, self._sender = ledger, score, early_stopping, sinks, sender
        self._stop, self._tokens_at_once = stop, tokens_at_once

    def after_step(self, progress: Progress, result: StepResult) -> None:
        """Validate when it is due."""
        if progress.step % self._every != 0 and progress.step < progress.total_steps:
            return
        self.catch_up(progress)

    def catch_up(self, progress: Progress) -> None:
        """Validate; a stop that comes in between ends it, and training, and is remembered in the checkpoint."""
        self._ledger.owes_validation = True
        try:
            measured = measure_perplexity(
                self._engine, CAUSAL, self._rows, self._batch_size, self._stop.between_batches, self._tokens_at_once
            )
        except MeasurementStoppedError:
            self._engine.model.train()
            progress.stop_reason = INTERRUPTED
            return
        self._ledger.owes_validation = False
        figures = perplexity_figures(measured)
        self._sinks.log(progress.step, {f"validation/{name}": value for name, value in figures.items()})
        self._ledger.latest(figures)
        self._judge(figures, progress)
        self._sender.send(metrics=self._ledger.metrics)
        progress.pause()

    def _judge(self, figures: Mapping[MetricName, float], progress: Progress) -> None:
        score = score_of(figures, self._score, progress.step)
        if score is not None:
            self._ledger.note(validated=score, score=score)
            if better(score, self._ledger.metrics.best):
                self._ledger.note(best=score)
        rule, reference = self._early_stopping, self._ledger.improvement_reference
        watched = rule.metric if rule is not None and rule.metric is not None else self._score
        value = figures.get(watched, math.nan)
        if reference is None or METRICS[watched].is_better(value, reference, by=rule.min_delta if rule else 0.0):
            self._ledger.improvement_reference = value
            self._ledger.evaluations_without_improvement = 0
            return
        self._ledger.evaluations_without_improvement += 1
        if self._early_stopping and self._ledger.evaluations_without_improvement >= self._early_stopping.patience:
            progress.stop_reason = EARLY_STOP


class StopOnRequest:
    """Ends training after the present step when the driver wants it; all ranks decide as rank 0 does."""

    def __init__(self, engine: Engine, sender: Sender) -> None:
        self._engine, self._sender = engine, sender

    def after_step(self, progress: Progress, result: StepResult) -> None:
        """Set the stop reason."""
        if self._wanted(ANSWER_SECONDS) and not progress.finished:
            progress.stop_reason = INTERRUPTED

    def between_batches(self) -> None:
        """Raise MeasurementStoppedError on all ranks when the driver wants the run to stop."""
        self._sender.send()  # what it answers tells
        if self._wanted(0.0):
            raise MeasurementStoppedError

    def _wanted(self, wait_seconds: float) -> bool:
        return self._engine.sums_over_ranks([float(self._sender.stop_requested(wait_seconds))])[0] > 0


class SaveCheckpoints:
    """A checkpoint every so many steps, at each new best, and at the end of training whatever ends it."""

    def __init__(self, engine: Engine, store: CheckpointStore, config: TrainConfig, ledger: Ledger, sender: Sender,
                 extra_state: Callable[[], dict[str, Any]]) -> None:  # fmt: skip
        self._engine, self._store, self._config, self._ledger, self._sender = engine, store, config, ledger, sender
        self._extra_state = extra_state

    def after_step(self, progress: Progress, result: StepResult) -> None:
        """Save when it is due. Every rank gathers, rank 0 writes; a failure on rank 0 fails the run on all."""
        best = self._ledger.metrics.best
        new_best = best is not None and best.step == progress.step
        if progress.step % self._config.checkpoint.every_steps != 0 and not new_best and not progress.finished:
            return
        self.catch_up(progress)

    def catch_up(self, progress: Progress) -> None:
        """Save."""
        state = self._engine.state()
        if self._engine.rank == 0:
            trainer_state = {
                "step": progress.step, "tokensSeen": progress.tokens_seen, "worldSize": self._engine.world_size,
                "stopReason": progress.stop_reason if progress.stop_reason != INTERRUPTED else None,
                "ledger": self._ledger.to_state(), **self._extra_state(),
            }  # fmt: skip
            validated = self._ledger.metrics.validated
            score = validated if validated is not None and validated.step == progress.step else None
            self._store.save(state, trainer_state, step=progress.step, attempt=self._config.job.attempt, score=score)
            self._sender.send(checkpoints=list(self._store.records))
        self._engine.broadcast(None)
        progress.pause()


def catch_up(hooks: Sequence[object], ledger: Ledger, progress: Progress) -> None:
    """Make up for the validation that a stop ended; unless another stop ends it too, the checkpoint gets its figure."""
    for hook in hooks:
        if isinstance(hook, Validate) or (isinstance(hook, SaveCheckpoints) and not ledger.owes_validation):
            hook.catch_up(progress)
