"""Which rows a step trains on: a function of (seed, epoch, step), so that a resumed run sees the same data.

Epochs are permutations laid end to end; a batch may hold the end of one epoch and the beginning of the next, so every
batch is full. Nothing depends on the number of workers, nor on how a batch is dealt or laid out. Test: tests/trainer/data/test_sampler.py.
"""

import hashlib
import math
import random
from array import array
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from finetune.api.sections import Training
from trainer.data.rows import Sample
from trainer.data.shards import lengths_of

WINDOW_BATCHES = 50
"""Batches among which rows of like length are brought together: as many as transformers' LengthGroupedSampler takes. Enough that hardly
any padding is left, few enough that rows meet others in every epoch."""


class Order:
    """The rows of every step of a run. With `lengths`, of each row, batches are of rows of like length, else of any rows."""

    def __init__(self, rows: int, global_batch_size: int, seed: int, lengths: NDArray[np.int32] | None = None) -> None:
        """Raise ValueError without rows."""
        if rows < 1:
            raise ValueError("no rows to sample from")
        self._rows, self._size, self._seed, self._lengths = rows, global_batch_size, seed, lengths
        self._epoch = lru_cache(maxsize=4)(self._order_of)

    def batch(self, step: int) -> list[tuple[int, int]]:
        """Return (epoch, row) of each row of the batch that follows `step` finished steps; all counts begin at 0."""
        start = step * self._size
        places = (divmod(position, self._rows) for position in range(start, start + self._size))
        return [(epoch, int(self._epoch(epoch)[place])) for epoch, place in places]

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        order = array("q", range(self._rows))
        random_for("order", self._seed, epoch).shuffle(order)
        permuted = np.frombuffer(order, np.int64)
        return permuted if self._lengths is None else self._grouped(permuted, epoch, self._lengths)

    def _grouped(self, permuted: NDArray[np.int64], epoch: int, lengths: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return an epoch's order with the rows of each window sorted by length, cut into batches, and all its batches shuffled.

        A batch that two epochs share keeps the rows that it has: what is left of a permutation is random rows.
        """
        begin = -epoch * self._rows % self._size  # the epoch before has begun a batch, which these rows fill
        count = max(0, self._rows - begin) // self._size
        batches = permuted[begin : begin + count * self._size].reshape(count, self._size)
        for first in range(0, count, WINDOW_BATCHES):
            window = batches[first : first + WINDOW_BATCHES].ravel()
            # Stable: rows of equal length stay in the random order of the epoch.
            batches[first : first + WINDOW_BATCHES] = window[np.argsort(lengths[window], kind="stable")].reshape(-1, self._size)
        turns = list(range(count))
        random_for("batches", self._seed, epoch).shuffle(turns)
        return np.concatenate([permuted[:begin], batches[turns].ravel(), permuted[begin + count * self._size :]])


def order_of(training: Training, rows: Sequence[Sample]) -> Order:
    """Return the order in which a job trains on its rows. Lengths are those on disk: augmentation may vary them by a few tokens."""
    lengths = lengths_of(rows) if training.group_by_length else None
    return Order(len(rows), training.global_batch_size, training.seed, lengths)


def steps_total(rows: int, training: Training) -> int:
    """Return the number of optimizer steps of a whole run; the last batch is filled from the epoch after the last."""
    if training.max_steps is not None:
        return training.max_steps
    # Rounded first: 0.1 epochs of 30 rows are 3 rows, not 3.0000000000000004.
    wanted_rows = round((training.epochs or 0) * rows, 6)
    return max(1, math.ceil(wanted_rows / training.global_batch_size))


def random_for(*parts: object) -> random.Random:
    """Return a random generator seeded by `parts`; the same in every process and on every machine."""
    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()
    return random.Random(int.from_bytes(digest[:16], "big"))  # noqa: S311 - not a secret
