"""Answers are described without a reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.api.metrics import MetricName, Needs
from tests.trainer.evaluation.metrics.builders import measured_by
from trainer.evaluation.metrics.evidence import Answers, Prediction
from trainer.evaluation.metrics.registry import compute

texts = st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=6).map(" ".join), min_size=1, max_size=5)


@given(texts)
def test_distinct_n_is_the_share_of_different_ngrams_of_the_whole_corpus(answers: list[str]) -> None:
    found = measured_by(["x y"] * len(answers), answers, ("distinct1", "distinct2"))
    for order, name in ((1, MetricName.DISTINCT_1), (2, MetricName.DISTINCT_2)):
        ngrams = [tuple(row.split()[start : start + order]) for row in answers for start in range(len(row.split()) - order + 1)]
        expected = len(set(ngrams)) / len(ngrams) if ngrams else None
        assert found[name].value == (pytest.approx(expected) if expected is not None else None)


@pytest.mark.parametrize(
    ("answers", "share"),
    [
        pytest.param(["one two three four five"], 0, id="all different"),
        pytest.param(["a a a a a a"], 2 / 3, id="one run three times"),
        pytest.param(["a b c d a b c d", "too short", "one two three four"], 0.1, id="mean over answers that are long enough"),
        pytest.param(["short"], None, id="none is long enough"),
    ],
)
def test_repetition_is_the_share_of_runs_of_four_words_that_came_before(answers: list[str], share: float | None) -> None:
    found = measured_by(["x"] * len(answers), answers, ("repetition",))[MetricName.REPETITION]
    assert found.value == (pytest.approx(share) if share is not None else None)
    assert found.reason == (None if share is not None else "no answer has 4 words")


@pytest.mark.parametrize(
    ("reference", "answer", "value", "kind"),
    [
        pytest.param("狗在这里", "猫猫坐在", 0.75, "char", id="a script without spaces"),
        pytest.param("狗在这里", "a b a b", 0.5, "char", id="an answer in another script than the reference"),
        pytest.param("a dog is here", "猫猫坐在", 1, "space", id="an answer that should have words"),
        pytest.param((), "猫猫坐在", 0.75, "char", id="no reference"),
        pytest.param("", "two words", 1, "space", id="an empty reference"),
    ],
)
def test_references_decide_what_is_counted(reference: str | tuple[str, ...], answer: str, value: float, kind: str) -> None:
    found = measured_by([reference], [answer], ("distinct1",))[MetricName.DISTINCT_1]
    assert (found.value, f"tok:{kind}" in (found.signature or "")) == (value, True)


def test_answers_that_the_limit_cut_are_unfinished() -> None:
    answers = Answers(tuple(Prediction("", ("x",), "y", cut=cut) for cut in (True, False, False, True)))
    assert compute([MetricName.UNFINISHED], {Needs.GENERATED_TEXT: answers})[MetricName.UNFINISHED].value == 0.5
