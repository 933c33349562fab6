"""Which of a set's rows are answered or shown, where that is not all: every data source and pair of languages has its share.

The checks before training, the evaluation and the report all ask here. Needs no torch. Test: tests/trainer/evaluation/test_turns.py.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Tagged(Protocol):
    """A row with its data source and its group, such as its pair of languages."""

    @property
    def source(self) -> str:
        """Where it was read from."""

    @property
    def group(self) -> str:
        """What figures are also given for apart."""


T = TypeVar("T", bound=Tagged)


def in_turns(rows: Sequence[T], count: int) -> list[T]:
    """Return `count` rows, or all if there are fewer, in their order: one of each source and group in turn, the first ones of each.

    Rows of one source and group are the first ones.
    """
    if len(rows) <= count:
        return list(rows)
    places: dict[tuple[str, str], int] = {}
    turns = []
    for number, row in enumerate(rows):
        kind = (row.source, row.group)
        places[kind] = places.get(kind, 0) + 1
        turns.append((places[kind], number))
    return [rows[number] for number in sorted(number for _, number in sorted(turns)[:count])]
