"""BLEU and chrF are sacrebleu's, of tokens that fit the script, and BLEU is undefined without 4-grams."""

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.api.metrics import MetricName, Needs
from tests.trainer.evaluation.metrics.builders import HYPOTHESES, REFERENCES, answers_to, measured_by
from trainer.evaluation.metrics.ngrams import CorpusBleu
from trainer.evaluation.metrics.registry import compute


def test_bleu_and_chrf_are_sacrebleus_at_corpus_level() -> None:
    measured = measured_by(REFERENCES, HYPOTHESES, ("bleu", "chrf"))

    assert measured["bleu"].value == pytest.approx(sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score)
    assert measured["chrf"].value == pytest.approx(sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]).score)


SEVERAL = [
    [REFERENCES[0], "One Ray job is started for each attempt."],
    REFERENCES[1:2],
    [REFERENCES[2], "It goes on at step 40.", "Step 40."],
]
STREAMS = [[row[place] if place < len(row) else None for row in SEVERAL] for place in range(3)]


def test_rows_may_have_references_of_differing_number() -> None:
    measured = measured_by(SEVERAL, HYPOTHESES, ("bleu", "chrf"))

    bleu, chrf = sacrebleu.BLEU(), sacrebleu.CHRF()
    assert measured["bleu"].value == pytest.approx(bleu.corpus_score(HYPOTHESES, STREAMS).score, rel=1e-12)
    assert measured["chrf"].value == pytest.approx(chrf.corpus_score(HYPOTHESES, STREAMS).score, rel=1e-12)
    assert (measured["bleu"].signature, measured["chrf"].signature) == (str(bleu.get_signature()), str(chrf.get_signature()))
    assert "nrefs:var" in str(bleu.get_signature())


texts = st.lists(st.sampled_from(["a", "job", "trains", "rows", "well"]), min_size=4, max_size=9).map(" ".join)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=6))
def test_figures_of_any_rows_are_sacrebleus(rows: list[tuple[str, list[str]]]) -> None:
    answers, references = [answer for answer, _ in rows], [right for _, right in rows]
    streams = [[row[place] if place < len(row) else None for row in references] for place in range(max(map(len, references)))]
    measured = measured_by(references, answers, ("bleu", "chrf"))
    assert measured["bleu"].value == pytest.approx(sacrebleu.BLEU().corpus_score(answers, streams).score, rel=1e-12)
    assert measured["chrf"].value == pytest.approx(sacrebleu.CHRF().corpus_score(answers, streams).score, rel=1e-12)


def test_each_group_of_rows_is_split_as_its_script_is() -> None:
    english, chinese = (
        ("The model answers every question well.", "The model answers a question well."),
        ("我们用这个模型回答用户的问题。", "我们用这个模型回答问题。"),
    )
    answers = answers_to([english[0], chinese[0]], [english[1], chinese[1]], ["zh-en", "en-zh"])
    found = compute([MetricName.BLEU], {Needs.GENERATED_TEXT: answers})[MetricName.BLEU]
    rows = CorpusBleu().statistics(answers).rows
    for row, (reference, answer), tokenization in zip(rows, (english, chinese), ("13a", "zh"), strict=True):
        expected = sacrebleu.corpus_bleu([answer], [[reference]], tokenize=tokenization).score
        assert float(CorpusBleu().value(row)) == pytest.approx(expected)
    assert "tok:13a+zh" in (found.signature or "")


def test_bleu_of_answers_without_four_tokens_is_left_out_with_the_reason() -> None:
    found = measured_by(["Yes.", "No."], ["Yes.", "Yes."], ("bleu",))["bleu"]

    assert (found.value, found.reason) == (None, "0 of 2 references have the 4 tokens that BLEU needs")


def test_bleu_of_a_model_that_never_says_four_tokens_is_undefined_unless_nothing_fits() -> None:
    short = measured_by(REFERENCES, ["The operator", "Checkpoints", "It resumes"], ("bleu",))["bleu"]

    assert (short.value, short.reason) == (None, "no answer has the 4 tokens that BLEU needs")
    assert measured_by(REFERENCES, ["?", "-", "+"], ("bleu",))["bleu"].value == 0


def test_bleu_by_characters_is_what_a_hand_computes() -> None:
    # 猫が好きです against 犬が好きです: 5 of 6, 4 of 5, 3 of 4 and 2 of 3 n-grams are right, and the lengths are equal.
    found = measured_by(["猫が好きです"], ["犬が好きです"], ("bleu",))["bleu"]

    assert found.value == pytest.approx(100 * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** (1 / 4))
