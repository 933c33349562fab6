"""Groups texts into batches that a tokenizer encodes at once, on all cores, in bounded memory.

Tests: tests/trainer/text/test_batches.py.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

BATCH_CHARACTERS = 1 << 18
"""A tokenizer's own result takes up to a hundred bytes for each character; larger batches are no faster."""

T = TypeVar("T")


def in_batches(members: Iterable[T], size_of: Callable[[T], int], most: int = BATCH_CHARACTERS) -> Iterator[list[T]]:
    """Yield the members in order, as lists whose sizes sum to at most `most`; a larger member is a list of its own."""
    batch: list[T] = []
    total = 0
    for member in members:
        size = size_of(member)
        if batch and total + size > most:
            yield batch
            batch, total = [], 0
        batch.append(member)
        total += size
    if batch:
        yield batch
