"""What a measurement found: the figures of one model on held-out rows, and the answers that some of them come from.

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
    """Figures of one model on one set of rows, in the order of the table of metrics; none where there are no rows."""

    figures: Mapping[MetricName, Figure] = field(default_factory=dict)
    predictions: tuple[Prediction, ...] = ()

    def values(self) -> dict[MetricName, float]:
        """Return the figures that are defined, as plain values for the progress record."""
        return {name: figure.value for name, figure in self.figures.items() if figure.value is not None}

    def score(self, task: TaskName, step: int) -> Score | None:
        """Return what a model of this task is judged by, with the step of its weights; None where it is undefined."""
        return score_of(self.values(), TASKS[task].score, step)

    @property
    def cut_answers(self) -> int:
        """Number of answers that the limit of tokens ended."""
        return sum(prediction.cut for prediction in self.predictions)

    def to_state(self) -> dict[str, Any]:
        """Return the form that a checkpoint keeps."""
        return {
            "figures": {name.value: asdict(figure) for name, figure in self.figures.items()},
            "predictions": [asdict(prediction) for prediction in self.predictions],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Measurement":
        """Return the measurement that a checkpoint kept."""
        figures = {MetricName(name): Figure(**figure) for name, figure in state["figures"].items()}
        return cls(figures, tuple(Prediction(**prediction) for prediction in state["predictions"]))
