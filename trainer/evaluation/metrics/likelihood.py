"""How likely the model finds the held-out text, from sums over tokens: perplexity, bits per byte, and the loss of masked tokens.

Test: tests/trainer/evaluation/metrics/test_likelihood.py.
"""

import math

import numpy as np

from finetune.api.metrics import METRICS as FACTS
from finetune.api.metrics import MetricName
from trainer.evaluation.metrics.base import Metric, Statistics, ratio
from trainer.evaluation.metrics.evidence import Floats, TokenRows


class MeanLoss(Metric[TokenRows]):
    """Negative log-likelihood of a token, from sums over tokens."""

    formula = "sum nll / sum tokens"

    def reason_left_out(self, evidence: TokenRows) -> str | None:
        """Undefined without tokens with loss."""
        return None if evidence.tokens.any() else "there are no tokens with loss"

    def statistics(self, evidence: TokenRows) -> Statistics:
        """Return likelihood and number of tokens of each row."""
        columns = np.stack([evidence.nll, evidence.tokens], axis=1)
        return Statistics(columns, f"{self.formula}|tokens:{evidence.sums.tokens}")

    def value(self, sums: Floats) -> Floats:
        """Return nats per token."""
        return ratio(sums[..., 0], sums[..., 1])


class Perplexity(MeanLoss):
    """exp of the mean negative log-likelihood per token; infinity if it overflows a float."""

    facts = FACTS[MetricName.PERPLEXITY]
    formula = "exp(sum nll / sum tokens)"

    def value(self, sums: Floats) -> Floats:
        """Return the exponential of the mean."""
        with np.errstate(over="ignore"):
            return np.exp(super().value(sums))


class MaskedLoss(MeanLoss):
    """Mean negative log-likelihood of a masked token, which a model of both sides fills in; no perplexity: that is of a whole text."""

    facts = FACTS[MetricName.MASKED_LOSS]


class BitsPerByte(Metric[TokenRows]):
    """Bits that the model needs per byte of text; unlike perplexity, comparable between tokenizers."""

    facts = FACTS[MetricName.BITS_PER_BYTE]

    def reason_left_out(self, evidence: TokenRows) -> str | None:
        """Undefined if the tokens with loss have no text."""
        return None if evidence.bytes.any() else "the tokens with loss have no text"

    def statistics(self, evidence: TokenRows) -> Statistics:
        """Return likelihood and bytes of each row."""
        columns = np.stack([evidence.nll, evidence.bytes], axis=1)
        return Statistics(columns, f"sum nll / ln 2 / sum bytes|bytes:{evidence.sums.bytes}")

    def value(self, sums: Floats) -> Floats:
        """Return bits per byte."""
        return ratio(sums[..., 0] / math.log(2), sums[..., 1])


METRICS = (Perplexity(), BitsPerByte(), MaskedLoss())
