"""What each operation makes of a text, by its definition."""

import random
from collections import Counter

import pytest

from finetune.api.augmentation import SwapKind
from trainer.augmentation.operations import MARKS, drop_words, insert_marks, insert_synonyms, replace_by_synonyms, swap_words
from trainer.augmentation.words import Operation, cut, join

TABLE = {"car": ("auto",), "quick": ("fast", "speedy"), "reply": ("answer", "not answer")}
SENTENCE = "Where is the quick car that we like"


def made(operation: Operation, text: str, seed: int = 0) -> tuple[str, int]:
    pieces = cut(text)
    count = operation(pieces, random.Random(seed))
    return join(pieces), count


def test_a_synonym_of_each_word_that_has_one_is_inserted_before_some_word() -> None:
    found = {made(insert_synonyms(TABLE, 1.0), SENTENCE, seed) for seed in range(100)}
    assert {count for _, count in found} == {2}
    for text, _ in found:
        added = Counter(text.split()) - Counter(SENTENCE.split())
        assert added in (Counter(["auto", "fast"]), Counter(["auto", "speedy"]))
        assert [word for word in text.split() if word in SENTENCE.split()] == SENTENCE.split()
    places = {text.split().index("auto") for text, _ in found}
    assert places >= set(range(8))


def test_marks_are_inserted_between_words_alone() -> None:
    found = [made(insert_marks(0.5), SENTENCE, seed) for seed in range(50)]
    for text, count in found:
        parts = text.split(" ")
        assert [part for part in parts if part not in MARKS] == SENTENCE.split()
        assert sum(part in MARKS for part in parts) == count
    assert {mark for text, _ in found for mark in MARKS if mark in text} == set(MARKS)
    assert sum(count for _, count in found) == pytest.approx(50 * 8 * 0.5, rel=0.2)


def test_nothing_is_inserted_inside_what_has_no_space() -> None:
    assert made(insert_marks(1.0), "a-b/c(d)e") == (". a-b/c(d)e", 1) or made(insert_marks(1.0), "a-b/c(d)e")[0].endswith(" a-b/c(d)e")


def test_any_two_words_change_places() -> None:
    found = {made(swap_words(0.2, SwapKind.ANY), SENTENCE.lower(), seed)[0] for seed in range(200)}
    assert all(sorted(text.split()) == sorted(SENTENCE.lower().split()) for text in found)
    moved = {text.split().index("where") for text in found}
    assert moved == set(range(8))


def test_a_word_moves_at_most_once() -> None:
    for seed in range(50):
        text, count = made(swap_words(1.0, SwapKind.ANY), "a b c d", seed)
        assert count == 4
        # Two pairs have changed places: doing it again gives the first text.
        order = ["abcd".index(word) for word in text.split()]
        assert [order[place] for place in order] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        pytest.param(replace_by_synonyms({"not": ("also",), "reply": ("not answer",)}, 1.0), "do not reply", id="synonyms"),
        pytest.param(drop_words(1.0), "not good", id="dropout"),
        pytest.param(swap_words(1.0), "is not good", id="swap"),
        pytest.param(swap_words(1.0, SwapKind.ANY), "is not good", id="swap with any"),
        pytest.param(insert_marks(1.0), "not good", id="marks"),
        pytest.param(insert_synonyms({"good": ("fine",)}, 1.0), "not good", id="insertion"),
    ],
)
def test_a_negation_and_the_word_beside_it_stay(operation: Operation, text: str) -> None:
    for seed in range(20):
        result, _ = made(operation, text, seed)
        assert result.endswith(text), result
