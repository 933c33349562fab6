"""How likely a model finds plain texts, beside what its task is measured by: all of them, or as many as a validation can afford.

Causal models have a perplexity. An encoder that fills in words sees both sides of them: its figure is exp of its masked loss, which is
called pseudo-perplexity here, because it is not comparable with a perplexity. Test: tests/trainer/evaluation/test_texts.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from finetune.api.metrics import MetricName, Needs
from finetune.api.tasks import ModelFamily
from trainer.data.rows import Sample
from trainer.data.sampler import random_for
from trainer.data.shards import Chosen, examples_of, loss_tokens_of
from trainer.engine.inference import Inference
from trainer.evaluation.bootstrap import Interval, interval_of, resampled_sums
from trainer.evaluation.comparison import LEAST_ROWS
from trainer.evaluation.heldout import Between
from trainer.evaluation.measurement import Measurement, measured_from
from trainer.evaluation.measuring.tokens import token_rows
from trainer.evaluation.metrics.evidence import Integers, TokenRows
from trainer.objectives.base import Forward
from trainer.tasks.base import Task
from trainer.training.batches import AtOnce

SAMPLE_TOKENS = 8192
"""Tokens that a validation measures. Base and tuned model read the same ones, whose losses differ by about half a nat: their mean is known
to half a percent, and small models on two CPU cores read as many in a few seconds."""


@dataclass(frozen=True)
class Figures:
    """What is measured of plain texts with a kind of model."""

    needs: Needs
    names: tuple[MetricName, ...]
    word: str
    """What `likelihood` is: Perplexity, or PseudoPerplexity."""


CAUSAL = Figures(Needs.TOKEN_SUMS, (MetricName.PERPLEXITY, MetricName.BITS_PER_BYTE), "Perplexity")
MASKED = Figures(Needs.MASKED_SUMS, (MetricName.MASKED_LOSS,), "PseudoPerplexity")


def figures_of(family: ModelFamily) -> Figures:
    """Return what is measured of plain texts with a kind of model."""
    return MASKED if family is ModelFamily.ENCODER else CAUSAL


def likelihood(found: Measurement) -> float:
    """Return exp of the mean loss of a token; nan of no tokens, infinity beyond the largest float."""
    values = found.values()
    if MetricName.PERPLEXITY in values:
        return values[MetricName.PERPLEXITY]
    loss = values.get(MetricName.MASKED_LOSS, math.nan)
    return math.inf if loss > 700 else math.exp(loss)


@dataclass(frozen=True)
class Texts:
    """Plain texts as tokens."""

    task: Task[Any]
    """That of plain texts."""
    count: int
    """Number of texts; the last may have no tokens."""
    rows: Sequence[Sample]

    @property
    def figures(self) -> Figures:
        """What is measured of them."""
        return figures_of(self.task.family)

    def sample(self, most: int = SAMPLE_TOKENS) -> Integers:
        """Return the texts that a validation measures, in their order: as many as have `most` tokens together, at least one.

        Drawn at random, always the same ones of the same texts.
        """
        tokens = np.bincount(examples_of(self.rows), loss_tokens_of(self.rows), self.count)
        order = list(range(self.count))
        random_for("texts at validation", self.count).shuffle(order)
        within = np.cumsum(tokens[order]) <= most
        within[0] = True
        return np.sort(np.array(order, np.int64)[within])

    def measure(self, engine: Inference, forward: Forward, at_once: AtOnce, between: Between = lambda: None,
                only: Integers | None = None) -> Measurement:  # fmt: skip
        """Return figures of the texts, or of those with the indices `only`; the same on every rank. All ranks must call it."""
        rows, count = self.rows, self.count
        if only is not None:
            rows, count = Chosen(rows, np.flatnonzero(np.isin(examples_of(rows), only)).tolist()), len(only)
        found = token_rows(engine, forward, self.task.objective, rows, at_once, between, count)
        return measured_from(self.figures.needs, found, self.figures.names)

    def part(self, found: Measurement, only: Integers) -> Measurement:
        """Return the figures of some of the texts, from those of all of them."""
        return measured_from(self.figures.needs, found.evidence[self.figures.needs].at(only), self.figures.names)


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
