"""The interface of metrics: facts from the table, and a figure computed from predictions; and the kinds of predictions.

A new metric is a row in finetune/api/metrics.py and a class in a file of this folder, listed in that file's METRICS, where
registry.py finds it. Pure, no torch. Tests: tests/trainer/evaluation/metrics/.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from finetune.api.metrics import MetricFacts


@dataclass(frozen=True)
class Figure:
    """The value of one metric. `signature` says how it was computed, so that two values can be compared; `unit` is for people."""

    value: float | None
    """None where the metric is undefined, for the reason in `reason`."""
    signature: str | None = None
    unit: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class TokenSums:
    """Sums over tokens with loss: negative log-likelihood in nats, number of tokens, UTF-8 bytes of their text.

    Sums of parts add up to the sum of the whole, so figures do not depend on batch size or number of ranks.
    """

    nll_sum: float = 0.0
    tokens: int = 0
    bytes: int = 0

    def __add__(self, other: "TokenSums") -> "TokenSums":
        """Join the sums of two sets of rows."""
        return TokenSums(self.nll_sum + other.nll_sum, self.tokens + other.tokens, self.bytes + other.bytes)


@dataclass(frozen=True)
class Prediction:
    """One held-out row that asks for text, and what the model made of it."""

    prompt: str
    """What was asked, for people."""
    reference: str
    answer: str
    cut: bool = False
    """The limit of tokens ended the answer."""


P_contra = TypeVar("P_contra", contravariant=True)


class Metric(Protocol[P_contra]):
    """Computes one figure over a whole set of rows at once, never a mean of means; `facts.needs` says from what."""

    @property
    def facts(self) -> MetricFacts:
        """The metric's row in the table."""

    def compute(self, predictions: Sequence[P_contra]) -> Figure:
        """Return the figure, with a reason in place of a value where it is undefined. Raises ValueError without predictions."""
