"""Batches keep the order of their members and a bounded size."""

from hypothesis import given
from hypothesis import strategies as st

from trainer.text.batches import in_batches


@given(st.lists(st.integers(0, 30)))
def test_members_keep_their_order_in_batches_of_bounded_size(sizes: list[int]) -> None:
    batches = list(in_batches(sizes, int, 20))
    assert [size for batch in batches for size in batch] == sizes
    assert all(batch and (sum(batch) <= 20 or len(batch) == 1) for batch in batches)


def test_members_are_taken_only_as_needed() -> None:
    assert next(in_batches(iter(int, 1), lambda _: 10, 20)) == [0, 0]
