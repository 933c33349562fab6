"""From tokenized rows to the micro-batches of one rank: who computes which row.

Rows of a step are sorted by length before they are dealt to the ranks, so that a micro-batch holds little padding and the
ranks finish at about the same time. Neither changes the loss. Test: tests/trainer/training/test_batches.py.
"""

from collections.abc import Sequence

from trainer.data.rows import Sample


def deal(rows: Sequence[Sample], rank: int, world_size: int, micro_batch_size: int) -> list[list[Sample]]:
    """Return the rows of rank `rank`'s micro-batches of a step; every rank gets as many. len(rows) is a multiple of world_size."""
    by_length = sorted(rows, key=lambda row: (len(row.input_ids), row.id))
    own = by_length[rank::world_size]
    return [own[start : start + micro_batch_size] for start in range(0, len(own), micro_batch_size)]


def deal_evaluation(
    rows: Sequence[Sample], rank: int, world_size: int, batch_size: int, tokens_at_once: int | None = None
) -> list[list[Sample] | None]:
    """Return rank `rank`'s batches of an evaluation over all rows; None is a turn without rows.

    A batch holds at most `batch_size` rows and, padding included, `tokens_at_once` tokens, but always one row.
    Every rank gets as many turns, because a sharded model's forward needs all ranks each time.
    """
    by_length = sorted(rows, key=lambda row: (len(row.input_ids), row.id))
    batches: list[list[Sample]] = []
    for row in by_length:
        size = len(batches[-1]) + 1 if batches else 0
        fits = tokens_at_once is None or size * len(row.input_ids) <= tokens_at_once
        if batches and size <= batch_size and fits:
            batches[-1].append(row)
        else:
            batches.append([row])
    turns = -(-len(batches) // world_size)
    own: list[list[Sample] | None] = list(batches[rank::world_size])
    return own + [None] * (turns - len(own))
