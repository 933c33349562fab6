"""Replayed rows have their share of every epoch and of every step, and are a function of seed and epoch alone."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.sampler import Order, Replay, replayed_in_epoch


def batches(order: Order, steps: int) -> list[list[tuple[int, int]]]:
    return [order.batch(step) for step in range(steps)]


@given(rows=st.integers(1, 60), replayed=st.integers(1, 40), share=st.floats(0.01, 0.95), size=st.integers(1, 16), seed=st.integers(0, 3))
def test_an_epoch_has_every_training_row_once_and_its_share_of_replayed_ones(
    rows: int, replayed: int, share: float, size: int, seed: int
) -> None:
    count = replayed_in_epoch(rows, share)
    assert count == 1 or abs(count / (rows + count) - share) <= 1 / (rows + count)
    order = Order(rows, size, seed, replay=Replay(replayed, count, seed))
    assert order.rows == rows + count
    steps = -(-3 * order.rows // size)
    drawn = [pair for batch in batches(order, steps) for pair in batch][: 3 * order.rows]
    for epoch in range(3):
        of_epoch = [row for number, row in drawn[epoch * order.rows : (epoch + 1) * order.rows] if number == epoch]
        assert sorted(row for row in of_epoch if row < rows) == list(range(rows))
        assert len(of_epoch) == order.rows
    # Over all epochs no replay row comes once more before every other has come as often.
    often = Counter(row - rows for _, row in drawn if row >= rows)
    counts = [often[row] for row in range(replayed)]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == 3 * count


@given(rows=st.integers(1, 200), share=st.floats(0.02, 0.9), size=st.integers(1, 32))
def test_every_step_has_its_share_within_a_row(rows: int, share: float, size: int) -> None:
    count = replayed_in_epoch(rows, share)
    order = Order(rows, size, 7, replay=Replay(5, count, 7))
    for batch in batches(order, 12):
        found = sum(row >= rows for _, row in batch)
        # A batch may hold the end of one epoch and the beginning of the next, or several whole ones.
        assert abs(found - size * count / (rows + count)) <= 1.5


def test_batches_of_like_length_keep_their_share() -> None:
    rows, size = 300, 10
    count = replayed_in_epoch(rows, 0.2)
    lengths = np.random.default_rng(0).integers(5, 200, rows + 40).astype(np.int32)
    grouped = Order(rows, size, 3, lengths, Replay(40, count, 3))
    mixed = Order(rows, size, 3, None, Replay(40, count, 3))
    assert {sum(row >= rows for _, row in batch) for batch in batches(grouped, 30)} == {2}

    def spread(order: Order) -> float:
        return float(np.mean([np.ptp(lengths[[row for _, row in batch if row < rows]]) for batch in batches(order, 30)]))

    assert spread(grouped) < spread(mixed) / 3
    for epoch in range(2):
        first, last = epoch * grouped.rows, (epoch + 1) * grouped.rows
        pairs = [[pair for batch in batches(order, 80) for pair in batch][first:last] for order in (grouped, mixed)]
        assert sorted(pairs[0]) == sorted(pairs[1])


@pytest.mark.parametrize("grouped", [False, True], ids=["any length", "like length"])
def test_the_count_of_replayed_rows_is_that_of_the_batches(grouped: bool) -> None:
    lengths = np.arange(50, dtype=np.int32) % 7 if grouped else None
    order = Order(40, 6, 1, lengths, Replay(10, replayed_in_epoch(40, 0.3), 1))
    for steps in (0, 1, 5, 11, 30):
        assert order.replayed(steps) == sum(row >= 40 for batch in batches(order, steps) for _, row in batch)


def test_training_rows_come_in_the_order_that_they_have_without_replay() -> None:
    alone, together = Order(20, 4, 5), Order(20, 4, 5, replay=Replay(3, 5, 5))
    one = [pair for batch in batches(alone, 10) for pair in batch]
    other = [pair for batch in batches(together, 13) for pair in batch if pair[1] < 20]
    assert other[:40] == one[:40]
    assert [pair for batch in batches(Order(20, 4, 6, replay=Replay(3, 5, 6)), 13) for pair in batch] != other
