"""The rows of one set as the model will see them, for the doctor to look at.

Tests: tests/trainer/preflight/test_doctor.py.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from trainer.data.rows import E, Piece, Sample
from trainer.data.shards import Pieces

Keep = Callable[[str, Sequence[Any], Iterable[Piece[Any]]], Sequence[Piece[Any]]]
"""Keeps the pieces of a set while it is looked over, given its name and its examples, of which each is one piece."""


@dataclass(frozen=True)
class Sampled(Generic[E]):
    """Rows of one set with their tokens. A long example that makes several pieces is there once for each."""

    name: str
    total: int
    seen: int
    pieces: Sequence[Piece[E]]

    @property
    def examples(self) -> Sequence[E]:
        """The example of each piece."""
        return Each(self.pieces, lambda piece: piece.example)

    @property
    def rows(self) -> Sequence[Sample]:
        """The sample of each piece."""
        return self.pieces.samples if isinstance(self.pieces, Pieces) else Each(self.pieces, lambda piece: piece.tokens)

    def of(self) -> str:
        """Say how many rows were looked at."""
        return count_of(self.total) if self.seen == self.total else f"{self.seen} sampled rows of {self.total}"


class Each(Sequence[Any]):
    """What a function makes of each member of a sequence, made when it is asked for."""

    def __init__(self, members: Sequence[Any], of: Callable[[Any], Any]) -> None:
        self._members, self._of = members, of

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Each(self._members[index], self._of)
        return self._of(self._members[index])


def in_memory(_name: str, _examples: Sequence[Any], pieces: Iterable[Piece[Any]]) -> Sequence[Piece[Any]]:
    """Keep the pieces of a few rows."""
    return list(pieces)


def count_of(rows: int) -> str:
    """Return a number of rows in words."""
    return "1 row" if rows == 1 else f"{rows} rows"
