"""Micro-batches: every row once, as many turns on every rank."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.fixtures.stored import deal_rows
from trainer.data.rows import Sample
from trainer.training.batches import AtOnce, deal, deal_evaluation, deal_packed


def row(name: str, ids: list[int], first: int) -> Sample:
    return Sample(name, tuple(ids), tuple(index >= first for index in range(len(ids))), len(ids), False, tail=0)


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 7))
def test_every_row_is_computed_by_exactly_one_rank(world_size: int, rows_per_rank: int, micro: int) -> None:
    rows = [row(str(index), [*range(1, 3 + index % 5), index + 10], 1) for index in range(world_size * rows_per_rank)]
    seen = [item.input_ids[-1] for rank in range(world_size) for batch in deal_rows(rows, rank, world_size, micro) for item in batch]
    assert sorted(seen) == [index + 10 for index in range(len(rows))]
    assert len({len(deal_rows(rows, rank, world_size, micro)) for rank in range(world_size)}) == 1


LENGTHS = st.lists(st.integers(1, 60), min_size=12, max_size=12)


@given(LENGTHS, st.integers(1, 3), st.integers(1, 4), st.integers(1, 7))
def test_packed_micro_batches_hold_every_row_once_and_are_as_many_as_padded_ones_and_no_larger(
    lengths: list[int], world_size: int, rows_per_rank: int, micro: int
) -> None:
    rows = [(length, f"row-{index % 5}") for index, length in enumerate(lengths[: world_size * rows_per_rank])]
    packed = [deal_packed(rows, rank, world_size, micro) for rank in range(world_size)]
    assert sorted(place for own in packed for places in own for place in places) == list(range(len(rows)))
    assert [len(own) for own in packed] == [len(deal(rows, rank, world_size, micro)) for rank in range(world_size)]
    assert all(places for own in packed for places in own)
    filled = {sum(rows[place][0] for place in places): places for own in packed for places in own}
    assert max(filled) <= min(micro, rows_per_rank) * max(length for length, _ in rows)
    largest = filled[max(filled)]
    # The fullest was the least filled when it got its last and shortest row.
    assert len(largest) == 1 or max(filled) - min(filled) <= min(rows[place][0] for place in largest)


def test_ranks_get_equally_much_and_the_order_of_equal_rows_is_by_their_id() -> None:
    rows = [(length, name) for length, name in zip([30, 30, 20, 20, 10, 10, 5, 5], "hgfedcba", strict=True)]
    dealt = [deal_packed(rows, rank, 2, 2) for rank in (0, 1)]
    assert [[sum(rows[place][0] for place in places) for places in own] for own in dealt] == [[35, 30], [35, 30]]
    turned = rows[::-1]
    again = [deal_packed(turned, rank, 2, 2) for rank in (0, 1)]
    ids = [[[rows[place][1] for place in places] for places in own] for own in dealt]
    assert [[[turned[place][1] for place in places] for places in own] for own in again] == ids
    assert [own[0][0] for own in ids] == ["g", "h"]


@given(LENGTHS, st.integers(1, 4), st.integers(1, 20), st.integers(1, 100))
def test_a_packed_evaluation_covers_all_rows_within_the_tokens_allowed_however_many_they_are(
    lengths: list[int], world_size: int, count: int, packed: int
) -> None:
    rows = [row(str(index), list(range(1, length + 1)), 1) for index, length in enumerate(lengths[:count])]
    turns = [deal_evaluation(rows, rank, world_size, AtOnce(rows=1, tokens=1, packed=packed)) for rank in range(world_size)]
    assert len({len(own) for own in turns}) == 1
    batches = [[rows[place] for place in turn] for own in turns for turn in own if turn is not None]
    assert sorted(item.id for batch in batches for item in batch) == sorted(item.id for item in rows)
    assert all(len(batch) == 1 or sum(len(item.input_ids) for item in batch) <= packed for batch in batches)


@given(st.integers(1, 4), st.integers(1, 20), st.integers(1, 6))
def test_an_evaluation_covers_all_rows_in_as_many_turns_on_every_rank(world_size: int, count: int, batch_size: int) -> None:
    rows = [row(str(index), [1, 2, 3], 1) for index in range(count)]
    turns = [deal_evaluation(rows, rank, world_size, AtOnce(batch_size)) for rank in range(world_size)]
    assert len({len(own) for own in turns}) == 1
    assert sorted(place for own in turns for turn in own for place in turn or []) == list(range(count))


@pytest.mark.parametrize(
    ("lengths", "tokens_at_once", "sizes"),
    [
        pytest.param([4, 4, 4, 4, 4], 12, [3, 2], id="as many rows as in training"),
        pytest.param([4, 4, 6, 6, 12], 12, [2, 2, 1], id="longer rows, fewer of them"),
        pytest.param([30, 30], 12, [1, 1], id="always one"),
    ],
)
def test_an_evaluations_batch_has_no_more_tokens_than_allowed(lengths: list[int], tokens_at_once: int, sizes: list[int]) -> None:
    rows = [Sample(str(index), [1] * length, [True] * length, 1, truncated=False, tail=0) for index, length in enumerate(lengths)]
    assert [len(turn or ()) for turn in deal_evaluation(rows, 0, 1, AtOnce(3, tokens_at_once))] == sizes
