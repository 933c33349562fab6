"""The word error rate is jiwer's over the corpus, and undefined without words."""

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.evaluation.metrics.builders import HYPOTHESES, REFERENCES, measured_by


def edit_distance(left: list[str], right: list[str]) -> int:
    """Return Levenshtein's distance over words, by the textbook's recurrence."""
    row = list(range(len(right) + 1))
    for i, word in enumerate(left, start=1):
        previous, row = row, [i]
        for j, other in enumerate(right, start=1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (word != other)))
    return row[-1]


def test_wer_counts_word_errors_over_the_corpus_without_case_and_punctuation() -> None:
    # Row 1: "one"->"a", "per"->"for each" is 1 substitution + 1 substitution + 1 insertion; row 3: 3 deletions; 19 words in all.
    measured = measured_by(REFERENCES, HYPOTHESES, ("wer",))["wer"].value

    words = [([*_words(r)], [*_words(h)]) for r, h in zip(REFERENCES, HYPOTHESES, strict=True)]
    assert measured == sum(edit_distance(r, h) for r, h in words) / sum(len(r) for r, _ in words)
    assert measured == 6 / 19


def _words(text: str) -> list[str]:
    return "".join(character for character in text.lower() if character.isalnum() or character == " ").split()


def test_an_empty_reference_among_others_counts_the_words_said_as_errors() -> None:
    assert measured_by(["", "two words"], ["three words here", "two words"], ("wer",))["wer"].value == 3 / 2


@pytest.mark.parametrize("references", [["?", ""], ["...", "!?"], ["👍", "🎉🎉"]], ids=["empty", "punctuation", "emoji"])
def test_references_without_any_word_have_no_word_error_rate(references: list[str]) -> None:
    found = measured_by(references, ["a", "b"], ("wer",))["wer"]

    assert (found.value, found.reason) == (None, "no reference has a word")


words = st.lists(st.sampled_from(["a", "job", "trains", "rows"]), min_size=1, max_size=6).map(" ".join)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=5))
def test_wer_of_plain_words_is_jiwers_own(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = [list(side) for side in zip(*pairs, strict=True)]

    measured = measured_by(references, hypotheses, ("wer",))["wer"].value

    assert measured == pytest.approx(jiwer.wer(references, hypotheses))
