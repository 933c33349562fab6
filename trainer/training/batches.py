"""From tokenized rows to the micro-batches of one rank: which rank computes which row.

A step's rows are those that the sampler drew, however they are dealt: padded, sorted by length, so that micro-batches have little
padding; packed, balanced by tokens, so that ranks and micro-batches take equally long. Neither changes the loss. Dealing needs only
lengths and ids: a rank reads only its own rows. Test: tests/trainer/training/test_batches.py.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.data.rows import Sample
from trainer.data.shards import by_length, lengths_of


def deal(rows: Sequence[tuple[int, str]], rank: int, world_size: int, micro_batch_size: int) -> list[list[int]]:
    """Return the row indices of each of `rank`'s micro-batches of a step; every rank gets equally many.

    `rows` are (length, id) of each row; their number is a multiple of world_size.
    """
    own = sorted(range(len(rows)), key=rows.__getitem__)[rank::world_size]
    return [own[start : start + micro_batch_size] for start in range(0, len(own), micro_batch_size)]


def deal_packed(rows: Sequence[tuple[int, str]], rank: int, world_size: int, micro_batch_size: int) -> list[list[int]]:
    """Return what `deal` does, for micro-batches of any number of rows whose sums of tokens are as equal as one pass makes them.

    As many micro-batches as `deal` makes, none of more tokens than `micro_batch_size` of the longest row: a micro-batch gets a row
    only while no other has fewer tokens, so to exceed that all would have had `micro_batch_size` rows before, which are all rows.
    """
    count = world_size * -(-len(rows) // world_size // micro_batch_size)
    longest_first = sorted(range(len(rows)), key=lambda place: (-rows[place][0], rows[place][1], place))
    bins = [(0, number, list[int]()) for number in range(count)]
    for place in longest_first:
        tokens, number, members = bins[0]
        members.append(place)
        heapq.heapreplace(bins, (tokens + rows[place][0], number, members))
    largest_first = sorted(bins, key=lambda found: (-found[0], found[1]))
    turns = [largest_first[start : start + world_size] for start in range(0, count, world_size)]
    # There and back, so that no rank always gets the larger one.
    return [turn[rank if index % 2 == 0 else world_size - 1 - rank][2] for index, turn in enumerate(turns)]


@dataclass(frozen=True)
class AtOnce:
    """How much a pass without gradients computes at once: what a micro-batch of training does, so that it fits in memory too."""

    rows: int
    """Rows padded to one length."""
    tokens: int | None = None
    """Tokens of padded rows, including padding, and of prompts with their answers; None: any number."""
    packed: int | None = None
    """Tokens of packed rows, of which there may be any number; None where rows are padded."""

    def holds(self, rows: int, tokens: int, longest: int) -> bool:
        """Return whether so many rows, with `tokens` in all, may be computed at once."""
        if self.packed is not None:
            return tokens <= self.packed
        return rows <= self.rows and (self.tokens is None or rows * longest <= self.tokens)


def deal_evaluation(rows: Sequence[Sample], rank: int, world_size: int, at_once: AtOnce) -> list[list[int] | None]:
    """Return `rank`'s batches of an evaluation, as indices of all rows; None is a turn without rows.

    A batch has at least one row, and more only as `at_once` holds them. Every rank gets equally many turns, because each forward
    pass of a sharded model needs all ranks.
    """
    lengths = lengths_of(rows)
    batches: list[list[int]] = []
    tokens = 0
    for place in by_length(rows).tolist():
        length = int(lengths[place])
        if batches and at_once.holds(len(batches[-1]) + 1, tokens + length, length):
            batches[-1].append(place)
            tokens += length
        else:
            batches.append([place])
            tokens = length
    turns = -(-len(batches) // world_size)
    own = batches[rank::world_size]
    return [*own, *[None] * (turns - len(own))]
