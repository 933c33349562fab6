"""The word error rate is jiwer's over the corpus, and undefined without words."""

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.api.evaluation import TextNormalization
from finetune.api.metrics import MetricName, Needs
from tests.trainer.evaluation.metrics.builders import HYPOTHESES, REFERENCES, answers_to, measured_by
from trainer.evaluation.metrics.registry import compute


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


def test_the_kinds_of_errors_are_jiwers_own() -> None:
    found = measured_by(REFERENCES, HYPOTHESES, ("wer", "cer"))
    plain = [[" ".join(_words(text)) for text in side] for side in (REFERENCES, HYPOTHESES)]
    for name, expected in (("wer", jiwer.process_words(*plain)), ("cer", jiwer.process_characters(*plain))):
        assert found[name].value == pytest.approx(getattr(expected, name), rel=1e-12)
        details = found[name].details
        assert [details[kind] for kind in ("substitutions", "insertions", "deletions")] == [
            expected.substitutions, expected.insertions, expected.deletions,
        ]  # fmt: skip
        assert details["referenceLength"] == expected.hits + expected.substitutions + expected.deletions


def test_what_counts_as_the_same_is_selectable_and_in_the_signature() -> None:
    rows = (["Yes, it is."], ["yes it is"])
    plain = answers_to(*rows, normalization=TextNormalization.NONE)
    found = compute([MetricName.WER, MetricName.CER], {Needs.GENERATED_TEXT: plain})
    assert found[MetricName.WER].value == pytest.approx(jiwer.wer(*rows)) == pytest.approx(2 / 3)
    assert found[MetricName.CER].value == pytest.approx(jiwer.cer(*rows)) == pytest.approx(3 / 11)
    assert found[MetricName.CER].signature == "case:mixed|punct:kept|tok:char|level:corpus|jiwer:4.0.0"
    assert measured_by(*rows, ("wer",))["wer"].value == 0


def test_the_reference_with_the_lowest_rate_counts() -> None:
    found = measured_by([["one two three four", "one two"], "five"], ["one two three", "five"], ("wer",))["wer"]
    assert found.value == 1 / 5, "one deletion of four words is less than one insertion of two"
    assert "refs:best" in (found.signature or "")


def test_scripts_without_spaces_have_a_character_error_rate() -> None:
    assert measured_by(["猫坐在垫子上"], ["猫坐在椅子上"], ("cer",))["cer"].value == 1 / 6


words = st.lists(st.sampled_from(["a", "job", "trains", "rows"]), min_size=1, max_size=6).map(" ".join)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=5))
def test_wer_of_plain_words_is_jiwers_own(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = [list(side) for side in zip(*pairs, strict=True)]

    measured = measured_by(references, hypotheses, ("wer",))["wer"].value

    assert measured == pytest.approx(jiwer.wer(references, hypotheses))
