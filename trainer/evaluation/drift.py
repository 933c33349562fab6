"""How likely a model finds texts, as one figure, and by how much another model is worse: what is read of measurements, without torch.

Causal models have a perplexity. An encoder that fills in words sees both sides of them: its figure is exp of its masked loss, which is
called pseudo-perplexity here, because it is not comparable with a perplexity. Pure. Test: tests/trainer/evaluation/test_texts.py.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from finetune.api.metrics import MetricName, Needs
from finetune.api.tasks import ModelFamily
from trainer.evaluation.bootstrap import Interval, interval_of, resampled_sums
from trainer.evaluation.comparison import LEAST_ROWS
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.metrics.evidence import TokenRows


@dataclass(frozen=True)
class Figures:
    """What is measured of plain texts with a kind of model."""

    needs: Needs
    names: tuple[MetricName, ...]
    word: str
    """What `likelihood` is: Perplexity, or PseudoPerplexity."""


CAUSAL = Figures(Needs.TOKEN_SUMS, (MetricName.PERPLEXITY, MetricName.BITS_PER_BYTE), "Perplexity")
MASKED = Figures(Needs.MASKED_SUMS, (MetricName.MASKED_LOSS,), "PseudoPerplexity")
LIKELIHOODS = frozenset({MetricName.PERPLEXITY, MetricName.MASKED_LOSS})
"""Figures of which a likelihood is known."""


def figures_of(family: ModelFamily) -> Figures:
    """Return what is measured of plain texts with a kind of model."""
    return MASKED if family is ModelFamily.ENCODER else CAUSAL


def likelihood(found: Measurement) -> float:
    """Return exp of the mean loss of a token; nan of no tokens, infinity beyond the largest float."""
    return likelihood_of(found.values())


def likelihood_of(values: Mapping[MetricName, float]) -> float:
    """Return the same from figures."""
    if MetricName.PERPLEXITY in values:
        return values[MetricName.PERPLEXITY]
    return exp_of(values.get(MetricName.MASKED_LOSS, math.nan))


def exp_of(loss: float) -> float:
    """Return exp of a loss in nats; infinity near the largest float and beyond, where math.exp would raise OverflowError."""
    return math.inf if loss > 700 else math.exp(loss)


def increase_percent(base: float, tuned: float) -> float:
    """Return by how many percent a likelihood is above that of the base model."""
    return 100 * (tuned / base - 1) if base else math.nan


def increase_interval(base: Measurement, tuned: Measurement) -> Interval | None:
    """Return the 95 % interval of `increase_percent` from both models' losses of the same texts; None of too few."""
    tables = []
    for found in (base, tuned):
        rows = next((rows for rows in found.evidence.values() if isinstance(rows, TokenRows)), None)
        if rows is None or len(rows) < LEAST_ROWS or not np.isfinite(rows.nll).all():
            return None
        tables.append(np.stack([rows.nll, rows.tokens], axis=1))
    if len(tables[0]) != len(tables[1]):
        return None
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        before, after = (sums[:, 0] / sums[:, 1] for sums in resampled_sums(tables))
        return interval_of(100 * (np.exp(after - before) - 1))
