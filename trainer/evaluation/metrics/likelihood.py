"""How likely the model finds the held-out text: perplexity and bits per byte, from sums over tokens.

Pure arithmetic, no torch. Test: tests/trainer/evaluation/metrics/test_likelihood.py.
"""

import math
from collections.abc import Sequence

from finetune.api.metrics import METRICS as FACTS
from finetune.api.metrics import MetricName
from trainer.evaluation.metrics.base import Figure, TokenSums


class Perplexity:
    """exp of the mean negative log-likelihood per token; infinity if it overflows a float."""

    facts = FACTS[MetricName.PERPLEXITY]

    def compute(self, predictions: Sequence[TokenSums]) -> Figure:
        """Return the perplexity over all tokens of all rows; undefined without tokens with loss."""
        sums = sum(predictions, TokenSums())
        if not sums.tokens:
            return Figure(None, unit=self.facts.unit, reason="there are no tokens with loss")
        return Figure(_perplexity(sums), f"exp(sum nll / sum tokens)|tokens:{sums.tokens}", self.facts.unit)


class BitsPerByte:
    """Bits that the model needs per byte of text; unlike perplexity, comparable between tokenizers."""

    facts = FACTS[MetricName.BITS_PER_BYTE]

    def compute(self, predictions: Sequence[TokenSums]) -> Figure:
        """Return the bits per byte over all rows; undefined if the tokens with loss have no text."""
        sums = sum(predictions, TokenSums())
        if not sums.bytes:
            return Figure(None, unit=self.facts.unit, reason="the tokens with loss have no text")
        return Figure(sums.nll_sum / math.log(2) / sums.bytes, f"sum nll / ln 2 / sum bytes|bytes:{sums.bytes}", self.facts.unit)


def _perplexity(sums: TokenSums) -> float:
    try:
        return math.exp(sums.nll_sum / sums.tokens)
    except OverflowError:
        return math.inf


METRICS = (Perplexity(), BitsPerByte())
