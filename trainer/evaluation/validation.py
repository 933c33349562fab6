"""The result of a validation, as the training loop sees it: figures by metric, and the metric of the score.

Pure. Test: tests/trainer/rank/test_hooks.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from finetune.api.metrics import MetricName, Score, score_of


@dataclass(frozen=True)
class ValidationResult:
    """Figures of the current model; the same on every rank."""

    figures: Mapping[MetricName, float]
    judged_by: MetricName
    """What chooses the best weights."""
    watched: MetricName
    """What early stopping watches, if there is early stopping."""
    losses: tuple[float, float] | None = None
    """The mean loss of the sampled training rows and of the validation rows, measured alike."""

    def score(self, step: int) -> Score | None:
        """Return the score of the weights of `step`; None if it is undefined."""
        return score_of(self.figures, self.judged_by, step)
