"""The result of evaluating one model on held-out rows: its figures, and the generated answers behind some of them.

Pure. Test: tests/trainer/evaluation/test_measurement.py.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from finetune.api.metrics import MetricName, Score, score_of
from finetune.api.tasks import TASKS, TaskName
from trainer.evaluation.metrics.base import Figure, Prediction


@dataclass(frozen=True)
class Measurement:
    """Figures of one model on one data set, in the order of the table of metrics; empty without rows."""

    figures: Mapping[MetricName, Figure] = field(default_factory=dict)
    predictions: tuple[Prediction, ...] = ()

    def values(self) -> dict[MetricName, float]:
        """Return the defined figures, as plain values for the progress record."""
        return {name: figure.value for name, figure in self.figures.items() if figure.value is not None}

    def score(self, task: TaskName, step: int) -> Score | None:
        """Return the task's score, with the step of the weights; None if it is undefined."""
        return score_of(self.values(), TASKS[task].score, step)

    @property
    def cut_answers(self) -> int:
        """Number of answers that the token limit cut."""
        return sum(prediction.cut for prediction in self.predictions)

    def to_state(self) -> dict[str, Any]:
        """Return the JSON that a checkpoint stores; `from_state` reads it."""
        return {
            "figures": {name.value: asdict(figure) for name, figure in self.figures.items()},
            "predictions": [asdict(prediction) for prediction in self.predictions],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Measurement":
        """Return the measurement that `to_state` saved."""
        figures = {MetricName(name): Figure(**figure) for name, figure in state["figures"].items()}
        return cls(figures, tuple(Prediction(**prediction) for prediction in state["predictions"]))
