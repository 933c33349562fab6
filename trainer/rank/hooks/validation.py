"""Validation at a fixed interval and at the last step: the best score so far, and early stopping. Test: tests/trainer/rank/test_hooks.py.

Does not know how the model is evaluated: `evaluate` does that.
"""

import math
from collections.abc import Callable, Sequence

from finetune.api.evaluation import EarlyStopping
from finetune.api.metrics import METRICS, better, score_of
from trainer.evaluation.generalization import point_of, warnings_of
from trainer.evaluation.validation import ValidationResult
from trainer.rank.hooks.stop import MeasurementStoppedError
from trainer.rank.ledger import Ledger
from trainer.reporting.messages import Sender
from trainer.reporting.sinks import MetricsSink
from trainer.training.loop import Progress, StopReason


class Validate:
    """Runs due validations. `evaluate` runs on every rank, and raises MeasurementStoppedError on all or none; `warn` says it to people.

    `remedies`: what helps against overfitting, in words.
    """

    def __init__(self, evaluate: Callable[[], ValidationResult], every_steps: int, early_stopping: EarlyStopping | None, ledger: Ledger,
                 sinks: MetricsSink, sender: Sender, warn: Callable[[str], None] = lambda _: None, *,
                 remedies: Sequence[str]) -> None:  # fmt: skip
        self._evaluate, self._every, self._early_stopping = evaluate, every_steps, early_stopping
        self._ledger, self._sinks, self._sender, self._warn, self._remedies = ledger, sinks, sender, warn, remedies
        for known in self._findings():  # of an attempt before, whose warnings ended with it
            warn(known)

    def due(self, progress: Progress) -> bool:
        """Return whether the interval is over, or this was the last step."""
        return progress.step % self._every == 0 or progress.step >= progress.total_steps

    def after_step(self, progress: Progress) -> None:
        """Validate at the interval and at the last step."""
        if self.due(progress):
            self.validate(progress)

    def validate(self, progress: Progress) -> None:
        """Validate and update the scores; a stop interrupts validation and training, which the checkpoint records."""
        self._ledger.owes_validation = True
        try:
            found = self._evaluate()
        except MeasurementStoppedError:
            progress.stop_reason = StopReason.INTERRUPTED
            return
        self._ledger.owes_validation = False
        self._sinks.log(progress.step, {f"validation/{name}": value for name, value in found.figures.items()})
        self._ledger.latest(found.figures)
        self._ledger.adaptation.validated(progress.step, found.figures)
        self._keep_best(found, progress.step)
        self._keep_watched(found, progress.step)
        self._note_generalization(found, progress.step)
        # At the last step patience has run out too late to stop anything.
        if self._patience_is_over(found) and progress.step < progress.total_steps:
            progress.stop_reason = progress.stop_reason or StopReason.EARLY
        self._sender.send(metrics=self._ledger.metrics)
        progress.pause()

    def _keep_best(self, found: ValidationResult, step: int) -> None:
        score = found.score(step)
        if score is None:
            return
        self._ledger.note(validated=score, score=score)
        if better(score, self._ledger.metrics.best) and self._ledger.adaptation.within(step) is not False:
            self._ledger.note(best=score)

    def _keep_watched(self, found: ValidationResult, step: int) -> None:
        watched = score_of(found.figures, found.watched, step)
        if watched is not None and better(watched, self._ledger.watched) and self._ledger.adaptation.within(step) is not False:
            self._ledger.watched = watched

    def _note_generalization(self, found: ValidationResult, step: int) -> None:
        point = point_of(step, *found.losses) if found.losses is not None else None
        if point is None:
            return
        known = len(self._findings())
        self._ledger.add(point)
        names = {"trainLoss": point.train_loss, "validationLoss": point.validation_loss, "gap": point.gap}
        self._sinks.log(step, {f"generalization/{name}": value for name, value in names.items()})
        for warning in self._findings()[known:]:
            self._warn(warning)

    def _findings(self) -> list[str]:
        return warnings_of(self._ledger.generalization, self._remedies)

    def _patience_is_over(self, found: ValidationResult) -> bool:
        """Return whether the job's patience has run out. It begins at the first finite value of the watched metric."""
        rule, reference = self._early_stopping, self._ledger.improvement_reference
        watched = found.watched
        value, by = found.figures.get(watched, math.nan), rule.min_delta if rule is not None else 0.0
        # Nothing is better than nan, and any number is better than infinity: neither may become the reference.
        if math.isfinite(value) and (reference is None or METRICS[watched].is_better(value, reference, by=by)):
            self._ledger.improvement_reference = value
            self._ledger.evaluations_without_improvement = 0
            return False
        if reference is None:
            return False
        self._ledger.evaluations_without_improvement += 1
        return rule is not None and self._ledger.evaluations_without_improvement >= rule.patience
