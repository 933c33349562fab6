"""Scores of spans are those of SQuAD's official rules, on the cases that its script and paper discuss."""

import collections
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.api.metrics import MetricName, Needs
from tests.trainer.evaluation.metrics.builders import answers_to, measured_by
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.registry import compute
from trainer.evaluation.metrics.squad import normalized

# The functions of evaluate-v2.0.py as published, for comparison.


def normalize_answer(s):
    def remove_articles(text):
        return re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text)

    def white_space_fix(text):
        return " ".join(text.split())

    def remove_punc(text):
        return "".join(ch for ch in text if ch not in set(string.punctuation))

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def compute_f1(a_gold, a_pred):
    gold_toks, pred_toks = normalize_answer(a_gold).split(), normalize_answer(a_pred).split()
    num_same = sum((collections.Counter(gold_toks) & collections.Counter(pred_toks)).values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision, recall = 1.0 * num_same / len(pred_toks), 1.0 * num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


def official(references: list[list[str]], answers: list[str]) -> tuple[float, float]:
    exact, f1 = [], []
    for golds, answer in zip(references, answers, strict=True):
        kept = [gold for gold in golds if normalize_answer(gold)] or [""]
        exact.append(max(int(normalize_answer(gold) == normalize_answer(answer)) for gold in kept))
        f1.append(max(compute_f1(gold, answer) for gold in kept))
    return 100.0 * sum(exact) / len(exact), 100.0 * sum(f1) / len(f1)


def spans(references: list[list[str]], answers: list[str]) -> dict[MetricName, Figure]:
    names = [MetricName.SQUAD_EXACT_MATCH, MetricName.SQUAD_F1]
    return compute(names, {Needs.SPANS: answers_to(references, answers)})


@pytest.mark.parametrize(
    ("references", "answer", "exact", "f1"),
    [
        pytest.param(["the Eiffel Tower"], "Eiffel Tower!", 100, 100, id="articles, case and punctuation do not count"),
        pytest.param(["Denver Broncos", "The Broncos"], "Broncos", 100, 100, id="the best of several golds"),
        pytest.param(["in 1066"], "1066", 0, 100 * 2 / 3, id="part of it"),
        pytest.param(["a b c"], "x", 0, 0, id="nothing in common"),
        pytest.param([], "", 100, 100, id="no answer, and the model says so"),
        pytest.param([], "something", 0, 0, id="no answer, and the model has one"),
        pytest.param([""], "", 100, 100, id="an empty gold is no answer"),
        pytest.param(["42"], "", 0, 0, id="an answer, and the model has none"),
        pytest.param(["the", "..."], "", 100, 100, id="golds without words are no answer"),
        pytest.param(["the", "right one"], "", 0, 0, id="golds without words do not count beside others"),
        pytest.param(["x x y"], "x x x", 0, 100 * 2 / 3, id="a word counts as often as it occurs"),
        pytest.param(["it's"], "its", 100, 100, id="punctuation inside words is removed"),
    ],
)
def test_an_answer_has_the_official_scores(references: list[str], answer: str, exact: float, f1: float) -> None:
    found = spans([references], [answer])
    assert (found[MetricName.SQUAD_EXACT_MATCH].value, found[MetricName.SQUAD_F1].value) == (exact, pytest.approx(f1))
    assert official([references], [answer]) == (exact, pytest.approx(f1))


words = st.lists(st.sampled_from(["the", "a", "Paris", "paris,", "tower", "…", "1066", "An"]), max_size=4).map(" ".join)


@given(st.lists(st.tuples(st.lists(words, max_size=3), words), min_size=1, max_size=6))
def test_a_set_has_the_official_scores(rows: list[tuple[list[str], str]]) -> None:
    references, answers = [row[0] for row in rows], [row[1] for row in rows]
    found = spans(references, answers)
    expected = official(references, answers)
    assert found[MetricName.SQUAD_EXACT_MATCH].value == pytest.approx(expected[0])
    assert found[MetricName.SQUAD_F1].value == pytest.approx(expected[1])


@given(st.text())
def test_texts_are_normalized_as_the_script_does(text: str) -> None:
    assert normalized(text) == normalize_answer(text)


def test_questions_with_and_without_an_answer_are_also_counted_apart() -> None:
    found = spans([["Paris"], ["Rome"], []], ["Paris", "", ""])[MetricName.SQUAD_EXACT_MATCH]
    assert found.value == pytest.approx(200 / 3)
    assert found.details == {"hasAnswer": {"value": 50.0, "rows": 2}, "noAnswer": {"value": 100.0, "rows": 1}}
    assert spans([["Paris"]], ["Paris"])[MetricName.SQUAD_F1].details == {}


def test_generated_answers_have_the_f1_of_their_best_reference() -> None:
    found = measured_by([["in 1066", "1066 AD"], "Rome"], ["1066", "Paris"], ("tokenF1",))[MetricName.TOKEN_F1]
    assert (found.value, found.rows) == (pytest.approx(100 * (2 / 3) / 2), 2)


def test_words_of_scripts_without_spaces_have_no_f1() -> None:
    found = measured_by(["猫坐在垫子上"], ["猫坐在"], ("tokenF1",))[MetricName.TOKEN_F1]
    assert (found.value, found.reason) == (None, "1 of 1 references are in a script without spaces between words")
