"""ROUGE-L is an F1 of the longest common subsequence of words."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.api.metrics import MetricName
from tests.trainer.evaluation.metrics.builders import measured_by
from trainer.evaluation.metrics.subsequence import common_subsequence, words_of


@cache
def by_recursion(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    if not left or not right:
        return 0
    if left[-1] == right[-1]:
        return 1 + by_recursion(left[:-1], right[:-1])
    return max(by_recursion(left[:-1], right), by_recursion(left, right[:-1]))


letters = st.lists(st.sampled_from("abc"), max_size=8).map(tuple)


@given(letters, letters)
def test_the_common_subsequence_is_the_textbooks(left: tuple[str, ...], right: tuple[str, ...]) -> None:
    assert common_subsequence(left, right) == by_recursion(left, right)


@pytest.mark.parametrize(
    ("reference", "answer", "f1"),
    [
        # Lin 2004, section 3.1: the sentence with the right order of words is better, though both share as many.
        pytest.param("police killed the gunman", "police kill the gunman", 75, id="S2 of the paper"),
        pytest.param("police killed the gunman", "the gunman kill police", 50, id="S3 of the paper"),
        pytest.param("The quick, brown fox!", "the QUICK brown fox", 100, id="case and punctuation"),
        pytest.param("Größe zählt", "größe ZÄHLT nicht", 80, id="letters beyond a to z"),
        pytest.param("one two", "", 0, id="nothing"),
        pytest.param("नमस्ते दुनिया", "नमस्ते मित्र", 50, id="vowel signs are part of a word"),
        pytest.param("Gr\u00f6\u00dfe z\u00e4hlt", "Gro\u0308\u00dfe za\u0308hlt", 100, id="accents as characters of their own"),
        pytest.param("می\u200cخواهم", "میخواهم", 100, id="a joiner inside a word"),
    ],
)
def test_an_answer_has_the_f1_of_what_it_shares_in_order(reference: str, answer: str, f1: float) -> None:
    assert measured_by([reference], [answer], ("rougeL",))[MetricName.ROUGE_L].value == pytest.approx(f1)


def test_the_best_reference_of_a_row_counts_and_rows_count_alike() -> None:
    found = measured_by([["a b", "c d e f"], "x"], ["c d", "x"], ("rougeL",))[MetricName.ROUGE_L]
    assert found.value == pytest.approx(100 * (2 / 3 + 1) / 2)


def test_scripts_without_spaces_have_no_words_to_share() -> None:
    found = measured_by(["猫坐在垫子上"], ["猫坐在垫子上"], ("rougeL",))[MetricName.ROUGE_L]
    assert found.reason == "1 of 1 references are in a script without spaces between words"


def test_words_are_runs_of_letters_and_digits() -> None:
    assert words_of("It's 3,5 — snake_case") == ["it", "s", "3", "5", "snake", "case"]
    assert words_of("यह हिन्दी है, தமிழ்।") == ["यह", "हिन्दी", "है", "தமிழ்"]
