"""Rows that stand twice are dropped, and no prompt stands on two sides of a split."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.api.errors import InputError
from finetune.api.sources import Data
from tests.trainer.fixtures.examples import chat, source, text
from tests.trainer.fixtures.stored import stored
from trainer.data.rows import Example
from trainer.data.splits import divide, without_duplicates, without_leakage


def fractions(validation: float | None = None, test: float | None = None) -> Data:
    return Data.model_validate({"train": [source("/x.jsonl")], "validationFraction": validation, "testFraction": test})  # type: ignore[arg-type]


def rows(count: int) -> list[Example]:
    return [chat(f"question {number}", f"answer {number}") for number in range(count)]


def divided(data: Data, examples: list[Example]) -> list[list[Example]]:
    return [list(side) for side in divide(data, stored(examples))]


def test_equal_rows_count_once_and_the_others_are_reported() -> None:
    examples = [chat("a", "b", origin="line 1"), chat("c", "d", origin="line 2"), chat("a", "b", origin="line 3")]
    kept, findings = without_duplicates("data.train", stored(examples))
    assert [example.origin for example in kept] == ["line 1", "line 2"]
    assert findings == ["data.train: 1 row repeats an earlier one and is left out (the first: line 3)"]


def test_rows_that_differ_in_white_space_alone_are_two_rows_on_one_side() -> None:
    """In code an indent is a difference, yet who has learned the one has seen the other."""
    indented, flat = "if a:\n    b()\n    c()", "if a:\n    b()\nc()"
    for examples in ([chat("write it", indented), chat("write it", flat)], [text(indented), text(flat)]):
        kept, findings = without_duplicates("data.train", stored(examples))
        assert (list(kept), findings) == (examples, [])
    assert text(indented).prompt_key == text(flat).prompt_key
    kept, _ = without_leakage("data.train", stored([text(flat), text("d()")]), {"data.test": stored([text(indented)])})
    assert list(kept) == [text("d()")]


def test_training_rows_whose_prompt_is_held_out_are_left_out() -> None:
    train = [chat("a", "b", origin="line 1"), chat("c", "d", origin="line 2")]
    kept, findings = without_leakage("data.train", stored(train), {"data.test": stored([chat("c", "another answer")])})
    assert [example.origin for example in kept] == ["line 1"]
    assert findings == ["data.train: 1 row was left out, because the same prompt is in data.test (the first: line 2)"]


def test_training_on_the_test_rows_alone_is_refused() -> None:
    with pytest.raises(InputError, match=r"data\.train: no row is left: each is also in data\.test.*data\.testFraction"):
        without_leakage("data.train", stored(rows(3)), {"data.test": stored(rows(3))})


@given(st.lists(st.integers(0, 30), min_size=3, max_size=80), st.sampled_from([0.05, 0.2, 0.4]), st.sampled_from([0.05, 0.2, 0.4]))
def test_a_prompt_with_several_answers_stands_on_one_side(prompts: list[int], validation: float, test: float) -> None:
    examples = [chat(f"question {prompt}", f"answer {number}") for number, prompt in enumerate(prompts)]
    try:
        sides = divided(fractions(validation, test), examples)
    except InputError:
        assert len(set(prompts)) < 20  # few prompts may all fall on the held-out sides
        return
    assert sorted(example.id for side in sides for example in side) == sorted(example.id for example in examples)
    assert all(sides)
    on_sides = [{example.prompt_key for example in side} for side in sides]
    assert not on_sides[0] & on_sides[1]
    assert not on_sides[0] & on_sides[2]
    assert not on_sides[1] & on_sides[2]


def test_shares_are_near_what_was_asked_for() -> None:
    train, validation, test = divided(fractions(0.1, 0.2), rows(5000))
    assert len(validation) == pytest.approx(500, abs=65)  # three standard deviations
    assert len(test) == pytest.approx(1000, abs=85)
    assert len(train) == 5000 - len(validation) - len(test)


def test_a_row_keeps_its_side_when_the_file_is_shuffled_or_grows() -> None:
    examples = rows(300)
    before = divided(fractions(0.1, 0.1), examples)
    more = [*rows(600)[300:], *random.Random(1).sample(examples, 300)]
    after = divided(fractions(0.1, 0.1), more)
    for side_before, side_after in zip(before, after, strict=True):
        assert {example.id for example in side_before} <= {example.id for example in side_after}


def test_a_validation_share_leaves_the_test_rows_as_they_are() -> None:
    assert divided(fractions(None, 0.1), rows(300))[2] == divided(fractions(0.3, 0.1), rows(300))[2]


@pytest.mark.parametrize("make", [rows, lambda count: [text(f"text {number}") for number in range(count)]], ids=["chat", "text"])
def test_a_small_share_of_few_rows_still_holds_one_out(make: object) -> None:
    train, validation, test = divided(fractions(0.001, 0.001), make(10))  # type: ignore[operator]
    assert (len(train), len(validation), len(test)) == (8, 1, 1)


def test_too_few_rows_to_divide_are_refused() -> None:
    with pytest.raises(InputError, match=r"data\.validationFraction: 2 different prompts cannot be divided into 3 sets"):
        divided(fractions(0.2, 0.2), rows(2))


def test_shares_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(InputError, match=r"data\.train: .*leave no row to train on; lower them"):
        divided(fractions(0.5, 0.5), rows(50))


def test_without_shares_all_rows_are_for_training() -> None:
    assert [len(side) for side in divided(fractions(), rows(5))] == [5, 0, 0]
