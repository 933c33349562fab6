"""Which rows a step trains on: a function of (seed, epoch, step), so that a resumed run sees the same data.

Epochs are permutations laid end to end; a batch may hold the end of one epoch and the beginning of the next, so every
batch is full. Nothing depends on the number of workers. Test: tests/trainer/data/test_sampler.py.
"""

import hashlib
import math
import random
from array import array
from functools import lru_cache

from finetune.api.sections import Training


def batch_at(step: int, rows: int, global_batch_size: int, seed: int) -> list[tuple[int, int]]:
    """Return (epoch, row) of each row of the batch that follows `step` finished steps; all counts begin at 0. ValueError without rows."""
    if rows < 1:
        raise ValueError("no rows to sample from")
    start = step * global_batch_size
    places = (divmod(position, rows) for position in range(start, start + global_batch_size))
    return [(epoch, _permutation(rows, epoch, seed)[place]) for epoch, place in places]


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


@lru_cache(maxsize=4)
def _permutation(rows: int, epoch: int, seed: int) -> "array[int]":
    order = array("q", range(rows))
    random_for("order", seed, epoch).shuffle(order)
    return order
