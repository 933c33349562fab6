"""What a measurement found reaches checkpoint, record and score, without what is undefined."""

import json
import math

import pytest

from finetune.api.metrics import MetricName, Score
from finetune.api.tasks import TaskName
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.metrics.base import Figure, Prediction

FOUND = Measurement(
    {MetricName.PERPLEXITY: Figure(7.5, "sig"), MetricName.BLEU: Figure(None, unit="0-100", reason="too short")},
    (Prediction("why?", "because", "well", cut=True), Prediction("who?", "me", "me")),
)


def test_what_is_undefined_has_no_value() -> None:
    assert FOUND.values() == {MetricName.PERPLEXITY: 7.5}
    assert Measurement().values() == {}


def test_answers_that_were_cut_are_counted() -> None:
    assert (FOUND.cut_answers, Measurement().cut_answers) == (1, 0)


def test_the_score_is_the_tasks_with_the_step_of_the_weights() -> None:
    assert FOUND.score(TaskName.CHAT, 30) == Score.of(MetricName.PERPLEXITY, 7.5, 30)


@pytest.mark.parametrize("figures", [{}, {MetricName.PERPLEXITY: Figure(math.inf)}], ids=["not measured", "infinite"])
def test_without_a_figure_to_judge_by_there_is_no_score(figures: dict[MetricName, Figure]) -> None:
    assert Measurement(figures).score(TaskName.CHAT, 30) is None


@pytest.mark.parametrize("found", [FOUND, Measurement()], ids=["measured", "no rows"])
def test_a_measurement_is_the_same_after_a_checkpoint(found: Measurement) -> None:
    assert Measurement.from_state(json.loads(json.dumps(found.to_state()))) == found
