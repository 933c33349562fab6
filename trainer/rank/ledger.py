"""The quality figures of a run so far, in the form of the progress record; part of every checkpoint.

Pure. Test: tests/trainer/rank/test_hooks.py.
"""

from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from finetune.api.metrics import MetricName, Score
from finetune.api.record import Metrics


class MetricsUpdate(TypedDict, total=False):
    """Changed fields of Metrics, by its own names and types."""

    baseline: Mapping[MetricName, float]
    latest: Mapping[MetricName, float]
    validated: Score | None
    best: Score | None
    score: Score | None
    final: Mapping[MetricName, float]


class Ledger:
    """The metrics of the record, and what early stopping and an interrupted validation have to remember."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.evaluations_without_improvement = 0
        self.improvement_reference: float | None = None
        """The value that early stopping compares with: it moves by minDelta at least, the best by any amount."""
        self.owes_validation = False
        """A stop ended the validation of the present step; the next attempt makes up for it first."""

    def note(self, **changes: Unpack[MetricsUpdate]) -> None:
        """Replace fields of the metrics."""
        self.metrics = self.metrics.model_copy(update=dict(changes))

    def latest(self, figures: Mapping[MetricName, float]) -> None:
        """Merge the newest figures."""
        self.note(latest={**self.metrics.latest, **figures})

    def to_state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "metrics": self.metrics.to_wire(),
            "evaluationsWithoutImprovement": self.evaluations_without_improvement,
            "improvementReference": self.improvement_reference,
            "owesValidation": self.owes_validation,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Ledger":
        """Return the ledger that a checkpoint kept."""
        ledger = cls()
        ledger.metrics = Metrics.model_validate(state["metrics"])
        ledger.evaluations_without_improvement = int(state["evaluationsWithoutImprovement"])
        ledger.improvement_reference = state["improvementReference"]
        ledger.owes_validation = bool(state.get("owesValidation", False))
        return ledger
