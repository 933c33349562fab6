"""Micro-batches: every row once, as many turns on every rank."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.fixtures.stored import deal_rows
from trainer.data.rows import Sample
from trainer.training.batches import deal_evaluation


def row(name: str, ids: list[int], first: int) -> Sample:
    return Sample(name, tuple(ids), tuple(index >= first for index in range(len(ids))), len(ids), False)


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 7))
def test_every_row_is_computed_by_exactly_one_rank(world_size: int, rows_per_rank: int, micro: int) -> None:
    rows = [row(str(index), [*range(1, 3 + index % 5), index + 10], 1) for index in range(world_size * rows_per_rank)]
    seen = [item.input_ids[-1] for rank in range(world_size) for batch in deal_rows(rows, rank, world_size, micro) for item in batch]
    assert sorted(seen) == [index + 10 for index in range(len(rows))]
    assert len({len(deal_rows(rows, rank, world_size, micro)) for rank in range(world_size)}) == 1


@given(st.integers(1, 4), st.integers(1, 20), st.integers(1, 6))
def test_an_evaluation_covers_all_rows_in_as_many_turns_on_every_rank(world_size: int, count: int, batch_size: int) -> None:
    rows = [row(str(index), [1, 2, 3], 1) for index in range(count)]
    turns = [deal_evaluation(rows, rank, world_size, batch_size) for rank in range(world_size)]
    assert len({len(own) for own in turns}) == 1
    assert sorted(item.id for own in turns for turn in own for item in turn or []) == sorted(item.id for item in rows)


@pytest.mark.parametrize(
    ("lengths", "tokens_at_once", "sizes"),
    [
        pytest.param([4, 4, 4, 4, 4], 12, [3, 2], id="as many rows as in training"),
        pytest.param([4, 4, 6, 6, 12], 12, [2, 2, 1], id="longer rows, fewer of them"),
        pytest.param([30, 30], 12, [1, 1], id="always one"),
    ],
)
def test_an_evaluations_batch_has_no_more_tokens_than_allowed(lengths: list[int], tokens_at_once: int, sizes: list[int]) -> None:
    rows = [Sample(str(index), [1] * length, [True] * length, 1, truncated=False) for index, length in enumerate(lengths)]
    assert [len(turn or ()) for turn in deal_evaluation(rows, 0, 1, 3, tokens_at_once)] == sizes
