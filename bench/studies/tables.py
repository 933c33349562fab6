"""From the runs of a study to its table, and to the differences between its rows. Pure. Test: tests/bench/studies/test_study_tables.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES, LEVEL, SEED = 2000, 0.95, 77


@dataclass(frozen=True)
class Outcome:
    """What a run of a study came to: accuracy on the test rows in percent, its interval, and which rows were right."""

    value: float
    interval: tuple[float, float] | None
    right: Sequence[bool]
    seconds: float

    @property
    def shown(self) -> str:
        """Return the figure as in a table."""
        return f"{self.value:.1f}" + (f" [{self.interval[0]:.1f}, {self.interval[1]:.1f}]" if self.interval else "")


@dataclass(frozen=True)
class MeanDifference:
    """How much better one way is than another, in points of accuracy, over all seeds."""

    value: float
    low: float
    high: float
    of_seeds: tuple[float, ...]

    @property
    def shown(self) -> str:
        """Return the figure as in a table."""
        return f"{self.value:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"

    @property
    def seeds_shown(self) -> str:
        """Return the difference of each seed: a few seeds tell a range, and no interval."""
        return ", ".join(f"{value:+.1f}" for value in self.of_seeds)


def mean_difference(ours: Sequence[Outcome], others: Sequence[Outcome]) -> MeanDifference:
    """Return the difference of accuracy, averaged over pairs of runs that share a seed; all of them answered the same rows.

    The interval is by resampling test rows: it holds for other rows and these seeds. What other seeds would do, their own differences show.
    """
    pairs = [np.asarray(one.right, float) - np.asarray(other.right, float) for one, other in zip(ours, others, strict=True)]
    table: NDArray[np.float64] = 100 * np.stack(pairs)
    generator, of_rows = np.random.default_rng(SEED), table.mean(axis=0)
    means = [of_rows[generator.integers(0, len(of_rows), len(of_rows))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return MeanDifference(float(table.mean()), float(low), float(high), tuple(float(pair.mean()) for pair in table))


def markdown(corner: str, rows: Mapping[str, Mapping[str, str]]) -> str:
    """Return a table of cells by row and column; a cell that is missing is empty."""
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    lines = [[corner, *columns], ["---"] * (1 + len(columns))]
    lines += [[name, *(cells.get(column, "") for column in columns)] for name, cells in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
