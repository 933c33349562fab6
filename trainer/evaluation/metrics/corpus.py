"""Base class of metrics that compare generated answers with references, over the whole corpus.

They run as custom `evaluate` metrics, because `evaluate.load` would download and run a script from the hub. An undefined
figure has a reason instead of a value: it is neither 0 nor the worst. Tests: tests/trainer/evaluation/metrics/.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from finetune.api.metrics import MetricFacts
from trainer.evaluation.metrics.base import Figure, Prediction

NO_ANSWERS = "no row asks for an answer"


class TextMetric(ABC):
    """A metric of generated answers, one answer per reference."""

    facts: ClassVar[MetricFacts]
    splits_words: ClassVar[bool] = False
    """Whether it counts words or tokens, and so depends on how the references' script separates words."""

    def undefined(self, references: Sequence[str]) -> str | None:
        """Return why the metric is undefined for these references (at least one), whatever a model answers; None if it is defined.

        Depends only on the references, so that base and tuned model are treated alike and users know before training.
        """
        return None

    def reason_left_out(self, references: Sequence[str]) -> str | None:
        """Return why the metric has no value for these references; None if it has one. Without references none has."""
        return self.undefined(references) if references else NO_ANSWERS

    def doubt(self, references: Sequence[str]) -> str | None:
        """Return a caveat about figures on these references, if there is one though the metric is defined."""
        return None

    def compute(self, predictions: Sequence[Prediction]) -> Figure:
        """Return the figure over all answers, or the reason why it is undefined, as it is without answers."""
        references = [prediction.reference for prediction in predictions]
        reason = self.reason_left_out(references)
        if reason is not None:
            return Figure(None, unit=self.facts.unit, reason=reason)
        found = _evaluated(self, [prediction.answer for prediction in predictions], references)
        return replace(found, unit=self.facts.unit)

    @abstractmethod
    def measure(self, answers: Sequence[str], references: Sequence[str]) -> Figure:
        """Return the figure of answers against references for which it is defined."""


def _evaluated(metric: TextMetric, answers: list[str], references: list[str]) -> Figure:
    """Run the metric as an `evaluate.Metric`, in memory; importing evaluate takes a second."""
    import datasets
    import evaluate

    features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})

    class Evaluated(evaluate.Metric):  # type: ignore[misc]
        def _info(self) -> evaluate.MetricInfo:
            return evaluate.MetricInfo(description=metric.facts.description, citation="", inputs_description="", features=features)

        def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
            return {"figure": metric.measure(predictions, references)}

    figure: Figure = Evaluated(keep_in_memory=True).compute(predictions=answers, references=references)["figure"]
    return figure
