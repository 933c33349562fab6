"""data.maxTrainRows draws rows by their content: fewer are among more, and every class keeps some."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.api.errors import InputError
from tests.trainer.fixtures.examples import chat
from tests.trainer.fixtures.stored import stored
from trainer.data.fewer import fewer_rows, least_rows
from trainer.data.rows import Example
from trainer.data.rowstore import contents_of
from trainer.text.label import LabelExample

CLASSES = st.lists(st.integers(0, 4), min_size=6, max_size=60)
SETS = st.lists(st.sets(st.integers(0, 4), max_size=3), min_size=6, max_size=40)


def labelled(classes: list[int]) -> list[Example]:
    return [LabelExample.of(f"line {number}", f"text {number}", [f"class {name}"]) for number, name in enumerate(classes)]


def drawn(examples: list[Example], most: int, seed: int = 1) -> list[Example]:
    return list(fewer_rows(stored(examples), most, seed)[0])


@given(CLASSES, st.integers(0, 2**31 - 1), st.data())
def test_fewer_rows_are_among_more_and_classes_differ_by_one_row_while_they_have_any(
    classes: list[int], seed: int, data: st.DataObject
) -> None:
    examples, count = labelled(classes), len(set(classes))
    more = data.draw(st.integers(count, len(examples)))
    fewer = data.draw(st.integers(count, more))
    many, few = drawn(examples, more, seed), drawn(examples, fewer, seed)
    assert (len(many), len(few)) == (more, fewer)
    assert set(few) <= set(many)
    assert [example for example in examples if example in few] == few, "in their own order"
    kept = {name: sum(example.answer == f"class {name}" for example in few) for name in set(classes)}
    assert min(kept.values()) >= 1
    unfilled = [kept[name] for name in kept if kept[name] < classes.count(name)]
    assert all(amount >= max(kept.values()) - 1 for amount in unfilled)


@given(SETS, st.integers(0, 2**31 - 1))
def test_rows_of_several_classes_cover_all_of_them(sets: list[set[int]], seed: int) -> None:
    rows: list[Example] = [LabelExample.of(str(n), f"text {n}", sorted(map(str, names)), listed=True) for n, names in enumerate(sets)]
    least = least_rows(rows, contents_of(rows), seed)
    found = {name for example in drawn(rows, least, seed) for name in example.classes}
    assert found == {str(name) for names in sets for name in names}
    assert least <= max(1, len(found))


@given(st.permutations(range(20)), st.integers(1, 19))
def test_which_rows_are_drawn_does_not_depend_on_their_order(order: list[int], most: int) -> None:
    rows: list[Example] = [chat(f"question {number}", "yes") for number in range(20)]
    assert set(drawn([rows[number] for number in order], most)) == set(drawn(rows, most))


def test_another_seed_draws_other_rows() -> None:
    rows: list[Example] = [chat(f"question {number}", "yes") for number in range(100)]
    assert set(drawn(rows, 50, seed=1)) != set(drawn(rows, 50, seed=2))


def test_what_was_drawn_is_said() -> None:
    examples = labelled([0, 0, 0, 1, 1])
    assert fewer_rows(stored(examples), 3, 1)[1] == [
        "data.train: 3 rows of 5 are learned, of each of the 2 classes, drawn by data.maxTrainRows"
    ]
    chats = stored([chat(f"question {number}", "yes") for number in range(4)])
    assert fewer_rows(chats, 1, 1)[1] == ["data.train: 1 row of 4 are learned, drawn by data.maxTrainRows"]
    assert fewer_rows(chats, None, 1) == (chats, [])
    assert fewer_rows(chats, 4, 1) == (chats, ["data.maxTrainRows: without effect, there are only 4 rows to train on"])


def test_fewer_rows_than_classes_are_refused() -> None:
    with pytest.raises(InputError) as refused:
        fewer_rows(stored(labelled([0, 1, 2, 2, 1])), 2, 1)
    problem = "is 2, too few: the training rows have 3 classes, and held-out rows of a class that no row teaches cannot be right"
    assert str(refused.value) == f"data.maxTrainRows: {problem}; give at least 3"
