import math
import socket

import jiwer
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.evaluation import text_metrics

REFERENCES = ["The operator starts one Ray job per attempt.", "Checkpoints are verified by reading back.", "It resumes from step 40."]
HYPOTHESES = ["The operator starts a Ray job for each attempt.", "Checkpoints are verified by reading back!", "it resumes"]
ALL = ("bleu", "chrf", "wer")


def edit_distance(left: list[str], right: list[str]) -> int:
    """Return Levenshtein's distance over words, by the textbook's recurrence."""
    row = list(range(len(right) + 1))
    for i, word in enumerate(left, start=1):
        previous, row = row, [i]
        for j, other in enumerate(right, start=1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (word != other)))
    return row[-1]


def test_bleu_and_chrf_are_sacrebleus_at_corpus_level() -> None:
    measured = text_metrics(REFERENCES, HYPOTHESES, ("bleu", "chrf"))

    assert measured["bleu"].value == pytest.approx(sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score)
    assert measured["chrf"].value == pytest.approx(sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]).score)


def test_signatures_say_how_a_figure_was_computed() -> None:
    measured = text_metrics(REFERENCES, HYPOTHESES, ALL)

    assert "tok:13a" in (measured["bleu"].signature or "")
    assert f"version:{sacrebleu.__version__}" in (measured["bleu"].signature or "")
    assert "nc:6" in (measured["chrf"].signature or "")
    assert measured["wer"].signature == "case:lower|punct:removed|tok:space|level:corpus|jiwer:4.0.0"


def test_wer_counts_word_errors_over_the_corpus_without_case_and_punctuation() -> None:
    # Row 1: "one"->"a", "per"->"for each" is 1 substitution + 1 substitution + 1 insertion; row 3: 3 deletions; 19 words in all.
    measured = text_metrics(REFERENCES, HYPOTHESES, ("wer",))["wer"].value

    words = [([*_words(r)], [*_words(h)]) for r, h in zip(REFERENCES, HYPOTHESES, strict=True)]
    assert measured == sum(edit_distance(r, h) for r, h in words) / sum(len(r) for r, _ in words)
    assert measured == 6 / 19


def _words(text: str) -> list[str]:
    return "".join(character for character in text.lower() if character.isalnum() or character == " ").split()


def test_equal_texts_are_perfect() -> None:
    measured = text_metrics(REFERENCES, REFERENCES, ALL)

    assert [measured[name].value for name in ALL] == pytest.approx([100, 100, 0])


@pytest.mark.parametrize("hypotheses", [["", "", ""], ["   ", "\n", "…"]], ids=["empty", "blank"])
def test_a_model_that_says_nothing_gets_the_worst_figures_and_no_error(hypotheses: list[str]) -> None:
    measured = text_metrics(REFERENCES, hypotheses, ALL)

    assert measured["bleu"].value == 0
    assert measured["chrf"].value == 0
    assert measured["wer"].value == 1


def test_an_empty_reference_among_others_counts_the_words_said_as_errors() -> None:
    assert text_metrics(["", "two words"], ["three words here", "two words"], ("wer",))["wer"].value == 3 / 2


def test_references_without_any_word_have_no_word_error_rate() -> None:
    assert math.isnan(text_metrics(["?", ""], ["a", "b"], ("wer",))["wer"].value)


@pytest.mark.parametrize(("references", "hypotheses"), [([], []), (["a"], []), (["a"], ["b", "c"])])
def test_lists_that_do_not_match_are_refused(references: list[str], hypotheses: list[str]) -> None:
    with pytest.raises(ValueError, match=r"row|hypotheses"):
        text_metrics(references, hypotheses, ALL)


def test_only_the_text_metrics_that_were_asked_for_are_computed() -> None:
    assert list(text_metrics(REFERENCES, HYPOTHESES, ("perplexity", "chrf"))) == ["chrf"]


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("a metric reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)

    assert text_metrics(REFERENCES, HYPOTHESES, ALL)


words = st.lists(st.sampled_from(["a", "job", "trains", "rows"]), min_size=1, max_size=6).map(" ".join)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=5))
def test_wer_of_plain_words_is_jiwers_own(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = [list(side) for side in zip(*pairs, strict=True)]

    measured = text_metrics(references, hypotheses, ("wer",))["wer"].value

    assert measured == pytest.approx(jiwer.wer(references, hypotheses))
