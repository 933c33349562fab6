"""BLEU and chrF are sacrebleu's, of tokens that fit the script, and BLEU is undefined without 4-grams."""

import pytest
import sacrebleu

from tests.trainer.evaluation.metrics.builders import HYPOTHESES, REFERENCES, measured_by


def test_bleu_and_chrf_are_sacrebleus_at_corpus_level() -> None:
    measured = measured_by(REFERENCES, HYPOTHESES, ("bleu", "chrf"))

    assert measured["bleu"].value == pytest.approx(sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score)
    assert measured["chrf"].value == pytest.approx(sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]).score)


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
