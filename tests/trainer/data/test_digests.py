"""Equal rows are found among digests in arrays as a dictionary would find them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.digests import as_digests, collect, digest, is_among, numbered, repeats

names = st.lists(st.integers(0, 12), max_size=40)


def digests_of(numbers: list[int]) -> np.ndarray:
    return collect(digest(b"row %d" % number) for number in numbers)


@given(names)
def test_only_the_first_of_equal_rows_is_no_repeat(numbers: list[int]) -> None:
    seen: set[int] = set()
    assert repeats(digests_of(numbers)).tolist() == [number in seen or bool(seen.add(number)) for number in numbers]


@given(names)
def test_equal_rows_have_one_number_and_its_first_row(numbers: list[int]) -> None:
    found, firsts = numbered(digests_of(numbers))
    assert [numbers[firsts[one]] for one in found] == numbers
    assert sorted(firsts.tolist()) == sorted(numbers.index(number) for number in set(numbers))


@given(names, names)
def test_rows_that_are_among_others_are_found(numbers: list[int], others: list[int]) -> None:
    assert is_among(digests_of(numbers), digests_of(others)).tolist() == [number in others for number in numbers]


def test_numbers_follow_the_digests_as_hexadecimal_text_does() -> None:
    given_names = [f"{number * 7919 % 1000:032x}"[::-1] for number in range(50)]
    found, _ = numbered(as_digests(b"".join(map(bytes.fromhex, given_names))))
    assert [given_names[place] for place in np.argsort(found)] == sorted(given_names)


def test_no_rows_are_no_trouble() -> None:
    assert repeats(collect([])).tolist() == is_among(collect([]), collect([])).tolist() == []
