"""Measures how likely a model finds plain texts, beside what its task is measured by: all of them, or as many as a validation can afford.

What the figures are is in drift.py. Test: tests/trainer/evaluation/test_texts.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.data.rows import Sample
from trainer.data.sampler import random_for
from trainer.data.shards import Chosen, examples_of, loss_tokens_of
from trainer.engine.inference import Inference
from trainer.evaluation.drift import Figures, figures_of
from trainer.evaluation.heldout import Between
from trainer.evaluation.measurement import Measurement, measured_from
from trainer.evaluation.measuring.tokens import token_rows
from trainer.evaluation.metrics.evidence import Integers
from trainer.objectives.base import Forward
from trainer.tasks.base import Task
from trainer.training.batches import AtOnce

SAMPLE_TOKENS = 8192
"""Tokens that a validation measures. Base and tuned model read the same ones. Where the two losses of a token differ by half a nat
(standard deviation, tokens independent), the rise is known to 1.96 * 0.5 / sqrt(8192) = 1.1 % (95 %). Small models on two CPU cores read
as many in a few seconds."""
FEW_TOKENS = 1000
"""Of fewer, the rise is known to 3 % at best, by the same formula."""


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

        Drawn at random, always the same ones of the same texts. One that is too long for what is left is passed over.
        """
        tokens, order = self._tokens(), list(range(self.count))
        random_for("texts at validation", self.count).shuffle(order)
        chosen, left = list[int](), most
        for index in order:
            if tokens[index] <= left:
                chosen.append(index)
                left -= tokens[index]
        return np.sort(np.array(chosen or order[:1], np.int64))

    def warning(self, field: str) -> str | None:
        """Return what to say of texts of which a validation measures too few tokens."""
        tokens = int(self._tokens()[self.sample()].sum())
        if tokens >= FEW_TOKENS:
            return None
        few = f"a validation measures {tokens} tokens of it, fewer than {FEW_TOKENS:,}"
        return f"{field}: {few}: the measured change may be off by several percent; add texts"

    def _tokens(self) -> Integers:
        return np.bincount(examples_of(self.rows), loss_tokens_of(self.rows), self.count).astype(np.int64)

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
