"""The rows of one set as the model will see them, for the doctor to look at.

Tests: tests/trainer/preflight/test_doctor.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from trainer.data.rows import E, Piece, Sample


@dataclass(frozen=True)
class Sampled(Generic[E]):
    """Rows of one set with their tokens. A long example that makes several pieces is there once for each."""

    name: str
    total: int
    seen: int
    pieces: Sequence[Piece[E]]

    @property
    def examples(self) -> list[E]:
        """The example of each piece."""
        return [piece.example for piece in self.pieces]

    @property
    def rows(self) -> list[Sample]:
        """The sample of each piece."""
        return [piece.tokens for piece in self.pieces]

    def of(self) -> str:
        """Say how many rows were looked at."""
        return count_of(self.total) if self.seen == self.total else f"{self.seen} sampled rows of {self.total}"


def count_of(rows: int) -> str:
    """Return a number of rows in words."""
    return "1 row" if rows == 1 else f"{rows} rows"
