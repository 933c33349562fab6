"""The interface of metrics (facts from the table, a figure computed from predictions) and the kinds of predictions.

A new metric is a row in finetune/api/metrics.py and a class in a file of this folder, listed in that file's METRICS for
registry.py; one of generated text subclasses corpus.TextMetric, because references may leave it undefined.
Pure, no torch. Tests: tests/trainer/evaluation/metrics/.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from finetune.api.metrics import MetricFacts


@dataclass(frozen=True)
class Figure:
    """The value of one metric. `signature` describes how it was computed, so that values can be compared; `unit` is for display."""

    value: float | None
    """None if the metric is undefined, for the reason in `reason`."""
    signature: str | None = None
    unit: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class TokenSums:
    """Sums over tokens with loss: negative log-likelihood in nats, number of tokens, UTF-8 bytes of their text.

    Sums of parts add up to the total, so figures do not depend on batch size or number of ranks.
    """

    nll_sum: float = 0.0
    tokens: int = 0
    bytes: int = 0

    def __add__(self, other: "TokenSums") -> "TokenSums":
        """Add the sums of two disjoint sets of rows."""
        return TokenSums(self.nll_sum + other.nll_sum, self.tokens + other.tokens, self.bytes + other.bytes)


@dataclass(frozen=True)
class Prediction:
    """One held-out row that asks for text, and the model's answer."""

    prompt: str
    """The question in readable form, for reports."""
    reference: str
    answer: str
    cut: bool = False
    """Whether the token limit cut the answer."""


P_contra = TypeVar("P_contra", contravariant=True)


class Metric(Protocol[P_contra]):
    """Computes one figure over all rows at once, never a mean of means; `facts.needs` names the kind of predictions."""

    @property
    def facts(self) -> MetricFacts:
        """The metric's row in the table."""

    def compute(self, predictions: Sequence[P_contra]) -> Figure:
        """Return the figure, with a reason instead of a value if it is undefined, as it is without predictions."""
