"""Figures of a model on a set of rows: sums that add up over micro-batches and ranks, and named values with signature.

Pure arithmetic, no torch. Test: tests/trainer/evaluation/test_figures.py.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from finetune.api.metrics import METRICS, MetricName


@dataclass(frozen=True)
class Figure:
    """One metric. `signature` says how it was computed, so that two values can be compared; `unit` is for people."""

    value: float | None
    """None where the metric is undefined, for the reason in `reason`."""
    signature: str | None = None
    unit: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Perplexity:
    """Sums over loss-bearing tokens: negative log-likelihood in nats, number of tokens, UTF-8 bytes of their text.

    Sums of parts add up to the sum of the whole, so the figures do not depend on batch size or number of ranks.
    """

    nll_sum: float = 0.0
    tokens: int = 0
    bytes: int = 0

    def __add__(self, other: "Perplexity") -> "Perplexity":
        """Join the sums of two sets of rows."""
        return Perplexity(self.nll_sum + other.nll_sum, self.tokens + other.tokens, self.bytes + other.bytes)

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-likelihood of a token; infinite where it exceeds a float, nan without tokens."""
        if not self.tokens:
            return math.nan
        try:
            return math.exp(self.nll_sum / self.tokens)
        except OverflowError:
            return math.inf

    @property
    def bits_per_byte(self) -> float:
        """Bits needed for a byte of the text; unlike perplexity comparable between tokenizers. nan without bytes."""
        return self.nll_sum / math.log(2) / self.bytes if self.bytes else math.nan


def figures(perplexity: Perplexity, texts: Mapping[MetricName, Figure]) -> dict[MetricName, Figure]:
    """Return all figures of one evaluation by the name that report and status use."""
    named = {MetricName.PERPLEXITY: Figure(perplexity.perplexity, f"exp(sum nll / sum tokens)|tokens:{perplexity.tokens}")}
    if perplexity.bytes:
        facts = METRICS[MetricName.BITS_PER_BYTE]
        named[facts.name] = Figure(perplexity.bits_per_byte, f"sum nll / ln 2 / sum bytes|bytes:{perplexity.bytes}", facts.unit)
    return named | dict(texts)
