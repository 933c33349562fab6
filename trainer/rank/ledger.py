"""The metrics of a run so far, as in the progress record; part of every checkpoint.

Pure. Test: tests/trainer/rank/test_hooks.py.
"""

from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from finetune.api.metrics import Compared, MetricName, Score
from finetune.api.record import AdaptationFigures, Generalization, Metrics
from trainer.rank.adaptationstate import AdaptationState


class MetricsUpdate(TypedDict, total=False):
    """Changed fields of Metrics, by its own names and types."""

    baseline: Mapping[MetricName, float]
    latest: Mapping[MetricName, float]
    validated: Score | None
    best: Score | None
    score: Score | None
    final: Mapping[MetricName, float]
    compared: Mapping[MetricName, Compared]
    generalization: Generalization
    adaptation: AdaptationFigures | None


class Ledger:
    """The metrics of the record, and the state of early stopping and of an interrupted validation."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.evaluations_without_improvement = 0
        self.improvement_reference: float | None = None
        """The value that early stopping compares with: it changes only by at least minDelta, the best score by any amount."""
        self.owes_validation = False
        """A stop interrupted the validation of the current step; the next attempt runs it first."""
        self.watched: Score | None = None
        """The best value of what early stopping watches, by any amount."""
        self.generalization: list[Generalization] = []
        """The loss on training and validation rows at each validation so far."""
        self.adaptation = AdaptationState()

    def note(self, **changes: Unpack[MetricsUpdate]) -> None:
        """Replace the given fields of the metrics."""
        self.metrics = self.metrics.model_copy(update=dict(changes))

    def add(self, point: Generalization) -> None:
        """Add a point to the curve of generalization."""
        self.generalization.append(point)
        self.note(generalization=point)

    def latest(self, figures: Mapping[MetricName, float]) -> None:
        """Merge `figures` into the latest ones."""
        self.note(latest={**self.metrics.latest, **figures})

    def begin_patience(self) -> None:
        """Let early stopping begin anew, as at the beginning of a run."""
        self.evaluations_without_improvement, self.improvement_reference, self.watched = 0, None, None

    def to_state(self) -> dict[str, Any]:
        """Return the JSON that a checkpoint stores; `from_state` reads it."""
        return {
            "metrics": self.metrics.to_wire(),
            "evaluationsWithoutImprovement": self.evaluations_without_improvement,
            "improvementReference": self.improvement_reference,
            "owesValidation": self.owes_validation,
            "watched": self.watched.to_wire() if self.watched is not None else None,
            "generalization": [point.to_wire() for point in self.generalization],
            "adaptation": self.adaptation.to_state() if self.adaptation.active else None,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Ledger":
        """Return the ledger that `to_state` saved; the last three fields are missing in one of an earlier version."""
        ledger = cls()
        ledger.metrics = Metrics.model_validate(state["metrics"])
        ledger.evaluations_without_improvement = int(state["evaluationsWithoutImprovement"])
        ledger.improvement_reference = state["improvementReference"]
        ledger.owes_validation = bool(state.get("owesValidation", False))
        watched = state.get("watched")
        ledger.watched = Score.model_validate(watched) if watched is not None else None
        ledger.generalization = [Generalization.model_validate(point) for point in state.get("generalization", ())]
        if state.get("adaptation") is not None:
            ledger.adaptation = AdaptationState.from_state(state["adaptation"])
        return ledger
