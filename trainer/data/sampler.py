"""Which rows a step trains on: a function of (seed, epoch, step), so that a resumed run sees the same data.

Epochs are permutations laid end to end; a batch may hold the end of one epoch and the beginning of the next, so every
batch is full. Nothing depends on the number of workers, nor on how a batch is dealt or laid out. Replayed rows of another domain have
their places in every epoch, spread evenly over it. Test: tests/trainer/data/test_sampler.py, tests/trainer/data/test_replay.py.
"""

import hashlib
import math
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from finetune.api.sections import Training
from trainer.data.rows import Sample
from trainer.data.shards import lengths_of

WINDOW_BATCHES = 50
"""Batches among which rows of like length are brought together: as many as transformers' LengthGroupedSampler takes. Enough that hardly
any padding is left, few enough that rows meet others in every epoch."""


def replayed_in_epoch(rows: int, share: float) -> int:
    """Return the number of replayed rows that are `share` of an epoch together with `rows` training rows, at least one."""
    return max(1, round(rows * share / (1 - share)))


@dataclass(frozen=True)
class Replay:
    """Rows of another domain that are drawn along: `count` of `rows` in each epoch, each once before any is drawn again."""

    rows: int
    count: int
    seed: int

    def drawn(self, epoch: int) -> NDArray[np.int64]:
        """Return the replay rows of an epoch, (count,): a stretch of permutations laid end to end over all epochs."""
        first, last = epoch * self.count, (epoch + 1) * self.count
        passes = range(first // self.rows, (last - 1) // self.rows + 1)
        order = np.concatenate([_permutation(self.rows, "replay", self.seed, number) for number in passes])
        return order[first - passes[0] * self.rows :][: self.count]

    def places(self, total: int) -> NDArray[np.int64]:
        """Return which of an epoch's `total` places are those of replayed rows, as far apart as they can be."""
        return (2 * np.arange(self.count, dtype=np.int64) + 1) * total // (2 * self.count)


class Order:
    """The rows of every step of a run. With `lengths`, of each row, batches are of rows of like length, else of any rows.

    Of `versions` of each row, all of one come before a second of any: a batch of versions of few rows would be a step towards these alone.
    Version v of row i is number `v * (rows / versions) + i`. Replayed rows are numbered after the training rows, `lengths` too.
    """

    def __init__(
        self,
        rows: int,
        global_batch_size: int,
        seed: int,
        lengths: NDArray[np.int32] | None = None,
        replay: Replay | None = None,
        versions: int = 1,
    ) -> None:
        """Raise ValueError without rows. `rows` counts all versions."""
        if rows < 1:
            raise ValueError("no rows to sample from")
        self._train, self._replay, self._versions = rows, replay, versions
        self._rows = rows + (replay.count if replay is not None else 0)
        self._size, self._seed, self._lengths = global_batch_size, seed, lengths
        self._epoch = lru_cache(maxsize=4)(self._order_of)

    @property
    def rows(self) -> int:
        """Number of rows that an epoch draws."""
        return self._rows

    def replayed(self, steps: int) -> int:
        """Return how many of the rows of the first `steps` steps are replayed ones."""
        if self._replay is None:
            return 0
        epochs, rest = divmod(steps * self._size, self._rows)
        return epochs * self._replay.count + int((self._epoch(epochs)[:rest] >= self._train).sum())

    def batch(self, step: int) -> list[tuple[int, int]]:
        """Return (epoch, row) of each row of the batch that follows `step` finished steps; all counts begin at 0."""
        start = step * self._size
        places = (divmod(position, self._rows) for position in range(start, start + self._size))
        return [(epoch, int(self._epoch(epoch)[place])) for epoch, place in places]

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        permuted = self._mixed(self._permuted(epoch), epoch)
        return permuted if self._lengths is None else self._grouped(permuted, epoch, self._lengths)

    def _permuted(self, epoch: int) -> NDArray[np.int64]:
        if self._versions == 1:
            return _permutation(self._train, "order", self._seed, epoch)
        rows = self._train // self._versions
        # In round r, row i comes in the version (first[i] + r) % versions.
        first = _permutation(self._train, "versions", self._seed, epoch)[:rows] % self._versions
        rounds = [(turn, _permutation(rows, "order", self._seed, epoch, turn)) for turn in range(self._versions)]
        return np.concatenate([(first[order] + turn) % self._versions * rows + order for turn, order in rounds])

    def _mixed(self, permuted: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        if self._replay is None:
            return permuted
        mixed, own = np.empty(self._rows, np.int64), np.ones(self._rows, np.bool_)
        places = self._replay.places(self._rows)
        own[places] = False
        mixed[places], mixed[own] = self._train + self._replay.drawn(epoch), permuted
        return mixed

    def _grouped(self, permuted: NDArray[np.int64], epoch: int, lengths: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return an epoch's order with the rows of each window sorted by length, cut into batches, and the batches of each round shuffled.

        A batch that two epochs share, or two rounds of versions, keeps its place and the rows that it has: they are random ones.
        """
        begin = -epoch * self._rows % self._size  # the epoch before has begun a batch, which these rows fill
        count = max(0, self._rows - begin) // self._size
        batches = permuted[begin : begin + count * self._size].reshape(count, self._size)
        turns, shuffler = np.arange(count), random_for("batches", self._seed, epoch)
        for start, end in self._rounds(begin, count):
            for first in range(start, end, WINDOW_BATCHES):
                self._sort(batches[first : min(end, first + WINDOW_BATCHES)], lengths)
            of_round = list(range(start, end))
            shuffler.shuffle(of_round)
            turns[start:end] = of_round
        return np.concatenate([permuted[:begin], batches[turns].ravel(), permuted[begin + count * self._size :]])

    def _rounds(self, begin: int, count: int) -> Iterator[tuple[int, int]]:
        """Yield, for each round, the first and the one after the last of its whole batches; `count` batches begin at place `begin`."""
        start = 0
        for turn in range(self._versions):
            end = self._rows * (turn + 1) // self._versions
            whole = min(count, (end - begin) // self._size)  # the batches before it that do not reach beyond this round
            if start < whole:
                yield start, whole
            start = max(start, -((begin - end) // self._size))  # the first that begins after it

    def _sort(self, window: NDArray[np.int64], lengths: NDArray[np.int32]) -> None:
        """Sort the rows of a window, (batches, rows), by length in their places."""
        flat = window.reshape(-1)
        # Replayed rows stay at places of replayed rows, so that every batch keeps its share of them.
        for kind in (flat < self._train, flat >= self._train):
            rows = flat[kind]
            # Stable: rows of equal length stay in the random order of the epoch.
            flat[kind] = rows[np.argsort(lengths[rows], kind="stable")]


def order_of(
    training: Training, rows: Sequence[Sample], replayed: Sequence[Sample] = (), share: float = 0.0, *, versions: int = 1
) -> Order:
    """Return the order in which a job trains on its rows. Lengths are those on disk: augmentation may vary them by a few tokens.

    With several `versions` of each row, an epoch has all: version v of row i is number `v * len(rows) + i`. `share` of the rows of an
    epoch are of `replayed`, if there are any; they are numbered after all versions.
    """
    own = len(rows) * versions
    replay = Replay(len(replayed), replayed_in_epoch(own, share), training.seed) if replayed else None
    lengths = np.concatenate([np.tile(lengths_of(rows), versions), lengths_of(replayed)]) if training.group_by_length else None
    return Order(own, training.global_batch_size, training.seed, lengths, replay, versions)


def steps_total(rows: int, training: Training) -> int:
    """Return the number of optimizer steps of a whole run, of `rows` an epoch; the last batch is filled from the epoch after the last."""
    if training.max_steps is not None:
        return training.max_steps
    # Rounded first: 0.1 epochs of 30 rows are 3 rows, not 3.0000000000000004.
    wanted_rows = round((training.epochs or 0) * rows, 6)
    return max(1, math.ceil(wanted_rows / training.global_batch_size))


def _permutation(rows: int, *parts: object) -> NDArray[np.int64]:
    order = array("q", range(rows))
    random_for(*parts).shuffle(order)
    return np.frombuffer(order, np.int64)


def random_for(*parts: object) -> random.Random:
    """Return a random generator seeded by `parts`; the same in every process and on every machine."""
    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()
    return random.Random(int.from_bytes(digest[:16], "big"))  # noqa: S311 - not a secret
