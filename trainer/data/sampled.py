"""The rows of one data set as the model will see them, for the doctor to examine.

Tests: tests/trainer/preflight/test_doctor.py.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from finetune.api.tasks import in_words
from trainer.data.rows import E, Piece, Sample
from trainer.data.shards import Pieces

LISTED = 5
"""Names in a message, at most."""
Keep = Callable[[str, Sequence[Any], Iterable[Piece[Any]]], Sequence[Piece[Any]]]
"""Stores the pieces of a data set, given its name, its examples, each of which is one piece, and the pieces, made as they are taken."""


@dataclass(frozen=True)
class Sampled(Generic[E]):
    """Rows of one data set with their tokens. A long example appears once for each of its pieces."""

    name: str
    total: int
    seen: int
    pieces: Sequence[Piece[E]]

    @property
    def examples(self) -> Sequence[E]:
        """The example of each piece, in the order of `pieces`."""
        return Each(self.pieces, lambda piece: piece.example)

    @property
    def rows(self) -> Sequence[Sample]:
        """The sample of each piece, in the order of `pieces`."""
        return self.pieces.samples if isinstance(self.pieces, Pieces) else Each(self.pieces, lambda piece: piece.tokens)

    def of(self) -> str:
        """Return how many rows were examined, in words, such as `12 rows`."""
        return count_of(self.total) if self.seen == self.total else f"{self.seen} sampled rows of {self.total}"


class Each(Sequence[Any]):
    """A lazy map over a sequence: the function is called on each access."""

    def __init__(self, members: Sequence[Any], of: Callable[[Any], Any]) -> None:
        self._members, self._of = members, of

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Each(self._members[index], self._of)
        return self._of(self._members[index])


def in_memory(_name: str, _examples: Sequence[Any], pieces: Iterable[Piece[Any]]) -> Sequence[Piece[Any]]:
    """Keep the pieces in a list: for few rows, and tests."""
    return list(pieces)


def count_of(rows: int) -> str:
    """Return `1 row`, `2 rows` and so on."""
    return "1 row" if rows == 1 else f"{rows} rows"


def some_of(names: Sequence[str]) -> str:
    """Return the first names in quotes, such as `'a', 'b' and others`."""
    if not names:
        return "none"
    listed = [repr(name) for name in names[:LISTED]]
    return in_words(listed) if len(names) <= LISTED else f"{', '.join(listed)} and others"
