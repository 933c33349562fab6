"""Intervals by resampling rows: the sums of statistics over rows drawn with replacement, as often as there are rows.

The draws depend on the number of rows alone. So all metrics of the same rows, and the base model and the tuned one, see the same
resamples, and two models can be compared pair by pair (Efron and Tibshirani 1993, chapters 13 and 16; for texts Koehn 2004, W04-3250).
Pure. Test: tests/trainer/evaluation/test_bootstrap.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.metrics.evidence import Floats

RESAMPLES = 1000
LEVEL = 0.95
SEED = 20180629
"""Any number: figures of the same rows should not change from run to run."""
DRAWN_AT_ONCE = 2**21
"""Rows drawn at once, 50 MB of work; resamples of more rows are made one by one."""
CELLS_AT_ONCE = 2**22
"""Numbers of a table of statistics that are converted at once, 34 MB."""
MOST_UNDEFINED = 0.05
"""With a larger share of resamples without a value there is no interval."""


@dataclass(frozen=True)
class Interval:
    """Where the value lies with a confidence of `LEVEL`."""

    low: float
    high: float


def resampled_sums(tables: Sequence[NDArray[Any]]) -> list[Floats]:
    """Return the sums of each table (rows, k) over the same resamples of rows: (RESAMPLES, k) each. None is without rows."""
    found: list[list[Floats]] = [[] for _ in tables]
    for counts in _counts(len(tables[0])):
        for sums, table in zip(found, tables, strict=True):
            sums.append(_weighted(counts, table))
    return [np.concatenate(sums) for sums in found]


def _counts(rows: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each row is drawn in each of a few resamples: (resamples, rows)."""
    generator, size = np.random.default_rng([SEED, rows]), max(1, DRAWN_AT_ONCE // rows)
    for start in range(0, RESAMPLES, size):
        count = min(size, RESAMPLES - start)
        drawn = generator.integers(0, rows, (count, rows)) + rows * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)


def _weighted(counts: Floats, table: NDArray[Any]) -> Floats:
    """Return counts @ table, for a table of any numeric type; a few rows at a time, because it may be large."""
    rows, columns = table.shape
    size, total = max(1, CELLS_AT_ONCE // max(1, columns)), np.zeros((len(counts), columns))
    for start in range(0, rows, size):
        chunk = slice(start, start + size)
        total += counts[:, chunk] @ table[chunk].astype(np.float64)
    return total


def interval_of(values: Floats) -> Interval | None:
    """Return the percentile interval of resampled values; None without any, and where too many are undefined or infinite.

    Its ends are values of resamples, so that it includes 0 exactly where `p_value` is not below 1 - LEVEL.
    """
    defined = np.sort(values[np.isfinite(values)])
    if not len(defined) or len(defined) < (1 - MOST_UNDEFINED) * len(values):
        return None
    beyond = max(0, int((1 - LEVEL) / 2 * (1 + len(defined))) - 1)
    return Interval(float(defined[beyond]), float(defined[-1 - beyond]))


def p_value(differences: Floats) -> float | None:
    """Return the two-sided p-value of no difference, from the differences in all resamples; the least is 2 / (RESAMPLES + 1).

    None where `interval_of` gives none.
    """
    defined = differences[np.isfinite(differences)]
    if not len(defined) or len(defined) < (1 - MOST_UNDEFINED) * len(differences):
        return None
    least = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (1 + least) / (1 + len(defined)))
