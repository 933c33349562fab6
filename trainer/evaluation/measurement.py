"""The result of evaluating one model on held-out rows: its figures, and the rows behind them.

Pure. Test: tests/trainer/evaluation/test_measurement.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from finetune.api.metrics import MetricName, Needs, Score, score_of
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.evidence import EVIDENCE, Answers, Evidence, Prediction
from trainer.evaluation.metrics.registry import compute


@dataclass(frozen=True)
class Measurement:
    """Figures of one model on one data set, in the order of the table of metrics; empty without rows."""

    figures: Mapping[MetricName, Figure] = field(default_factory=dict)
    evidence: Mapping[Needs, Evidence] = field(default_factory=dict)
    """The rows that the figures were computed from."""

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        """The answers in text, of the rows that have one."""
        return tuple(row for found in self.evidence.values() if isinstance(found, Answers) for row in found.predictions)

    @property
    def generated(self) -> tuple[Prediction, ...]:
        """Those that the model wrote token by token; spans of a text are not."""
        found = self.evidence.get(Needs.GENERATED_TEXT)
        return found.predictions if isinstance(found, Answers) else ()

    def values(self) -> dict[MetricName, float]:
        """Return the defined figures, as plain values for the progress record."""
        return {name: figure.value for name, figure in self.figures.items() if figure.value is not None}

    def score(self, metric: MetricName, step: int) -> Score | None:
        """Return what the model is judged by, with the step of the weights; None if it is undefined."""
        return score_of(self.values(), metric, step)

    @property
    def cut_answers(self) -> int:
        """Number of answers that the token limit cut."""
        return sum(prediction.cut for prediction in self.generated)

    def to_state(self) -> dict[str, Any]:
        """Return the JSON that a checkpoint stores; `from_state` reads it."""
        return {
            "figures": {name.value: asdict(figure) for name, figure in self.figures.items()},
            "evidence": {needs.value: found.to_state() for needs, found in self.evidence.items()},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Measurement":
        """Return the measurement that `to_state` saved."""
        figures = {MetricName(name): Figure(**figure) for name, figure in state["figures"].items()}
        evidence = {Needs(name): EVIDENCE[Needs(name)].from_state(found) for name, found in state["evidence"].items()}
        return cls(figures, evidence)


def measured_from(needs: Needs, evidence: Evidence, names: Sequence[MetricName]) -> Measurement:
    """Return the figures `names`, all of which need this kind of evidence, with it."""
    return Measurement(compute(names, {needs: evidence}), {needs: evidence})
