"""From tokenized rows to the micro-batches of one rank: which rank computes which row.

Rows of a step are sorted by length before they are dealt to the ranks, so that micro-batches have little padding and the
ranks finish at about the same time. Neither changes the loss. Dealing needs only lengths and ids: a rank reads only
its own rows. Test: tests/trainer/training/test_batches.py.
"""

from collections.abc import Sequence

from trainer.data.rows import Sample
from trainer.data.shards import Chosen, by_length, lengths_of


def deal(rows: Sequence[tuple[int, str]], rank: int, world_size: int, micro_batch_size: int) -> list[list[int]]:
    """Return the row indices of each of `rank`'s micro-batches of a step; every rank gets equally many.

    `rows` are (length, id) of each row; their number is a multiple of world_size.
    """
    own = sorted(range(len(rows)), key=rows.__getitem__)[rank::world_size]
    return [own[start : start + micro_batch_size] for start in range(0, len(own), micro_batch_size)]


def deal_evaluation(
    rows: Sequence[Sample], rank: int, world_size: int, batch_size: int, tokens_at_once: int | None = None
) -> list[Sequence[Sample] | None]:
    """Return `rank`'s batches of an evaluation over all rows; None is a turn without rows.

    A batch has at most `batch_size` rows and, including padding, `tokens_at_once` tokens, but at least one row.
    Every rank gets equally many turns, because each forward pass of a sharded model needs all ranks.
    """
    lengths = lengths_of(rows)
    batches: list[list[int]] = []
    for place in by_length(rows).tolist():
        size = len(batches[-1]) + 1 if batches else 0
        fits = tokens_at_once is None or size * int(lengths[place]) <= tokens_at_once
        if batches and size <= batch_size and fits:
            batches[-1].append(place)
        else:
            batches.append([place])
    turns = -(-len(batches) // world_size)
    own: list[Sequence[Sample] | None] = [Chosen(rows, places) for places in batches[rank::world_size]]
    return own + [None] * (turns - len(own))
