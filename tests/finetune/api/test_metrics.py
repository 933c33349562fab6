"""The table of metrics is complete, and scores are compared in their metric's direction or not at all."""

import math

import pytest
from pydantic import BaseModel, ValidationError

from finetune.api.metrics import METRICS, Direction, MetricName, Needs, Score, better, metrics_needing, score_of


def perplexity(value: float, step: int = 1) -> Score:
    return Score.of(MetricName.PERPLEXITY, value, step)


def bleu(value: float, step: int = 1) -> Score:
    return Score.of(MetricName.BLEU, value, step)


def test_every_metric_has_facts_of_its_own() -> None:
    assert list(METRICS) == list(MetricName)
    assert all(facts.name is name for name, facts in METRICS.items())
    assert len({facts.heading for facts in METRICS.values()}) == len(METRICS)


def test_metrics_are_found_by_what_they_need() -> None:
    assert metrics_needing(Needs.TOKEN_SUMS) == (MetricName.PERPLEXITY, MetricName.BITS_PER_BYTE)
    assert MetricName.WER in metrics_needing(Needs.GENERATED_TEXT, Needs.TOKEN_SUMS)
    assert metrics_needing() == ()


@pytest.mark.parametrize(
    ("score", "other", "expected"),
    [
        pytest.param(perplexity(7), perplexity(8), True, id="lower perplexity"),
        pytest.param(perplexity(8), perplexity(7), False, id="higher perplexity"),
        pytest.param(perplexity(7), perplexity(7, step=2), False, id="equal"),
        pytest.param(bleu(8), bleu(7), True, id="higher BLEU"),
        pytest.param(bleu(7), bleu(8), False, id="lower BLEU"),
        pytest.param(perplexity(8), None, True, id="the first"),
    ],
)
def test_the_better_score_is_the_one_in_the_metrics_direction(score: Score, other: Score | None, expected: bool) -> None:
    assert better(score, other) is expected


def test_scores_of_two_metrics_are_not_compared() -> None:
    with pytest.raises(ValueError, match="perplexity and bleu cannot be compared"):
        better(perplexity(7), bleu(7))


@pytest.mark.parametrize("name", [MetricName.PERPLEXITY, MetricName.BLEU])
def test_an_improvement_is_larger_than_what_is_asked_for(name: MetricName) -> None:
    sign = -1 if METRICS[name].direction is Direction.LOWER else 1
    assert METRICS[name].is_better(10 + 0.6 * sign, 10, by=0.5)
    assert not METRICS[name].is_better(10 + 0.4 * sign, 10, by=0.5)
    assert not METRICS[name].is_better(math.nan, 10)


@pytest.mark.parametrize(
    "wrong",
    [
        {"metric": "rougeX", "value": 1.0, "direction": "higher", "step": 1},
        {"metric": "perplexity", "value": 1.0, "direction": "higher", "step": 1},
        {"metric": "perplexity", "value": math.nan, "direction": "lower", "step": 1},
        {"metric": "perplexity", "value": 1.0, "direction": "lower", "step": -1},
    ],
    ids=["unknown", "direction", "no number", "step"],
)
def test_what_cannot_be_a_score_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Score.model_validate(wrong)


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_an_undefined_figure_is_no_score(value: float | None) -> None:
    figures = {MetricName.BLEU: 3.0} | ({} if value is None else {MetricName.PERPLEXITY: value})
    assert score_of(figures, MetricName.PERPLEXITY, 3) is None
    assert score_of(figures, MetricName.BLEU, 3) == bleu(3.0, step=3)


@pytest.mark.parametrize(
    ("score", "words"),
    [(perplexity(14.926), "perplexity 14.93"), (bleu(31), "bleu 31.0"), (perplexity(1.23456e12), "perplexity 1.235e+12")],
    ids=["decimals", "padded", "large"],
)
def test_a_score_reads_as_people_write_it(score: Score, words: str) -> None:
    assert str(score) == words


def test_a_field_may_take_some_metrics_alone() -> None:
    from typing import Annotated

    from finetune.api.metrics import OneOf

    class Section(BaseModel):
        metric: Annotated[MetricName, OneOf((MetricName.BLEU, MetricName.WER))]

    assert Section.model_validate_json('{"metric": "wer"}', strict=True).metric is MetricName.WER
    assert Section.model_json_schema()["properties"]["metric"]["enum"] == ["bleu", "wer"]
    with pytest.raises(ValidationError, match="Input should be 'bleu' or 'wer'"):
        Section.model_validate({"metric": "perplexity"})
