"""What a measurement found reaches checkpoint, record and score, without what is undefined."""

import json
import math

import numpy as np
import pytest

from finetune.api.metrics import MetricName, Needs, Score
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.evidence import Answers, Classified, ClassPrediction, Prediction, Tags, TokenRows

TABLE = (np.array([1.5, 1 / 3]), np.array([2, 1]), np.array([7, 3]))

FOUND = Measurement(
    {MetricName.PERPLEXITY: Figure(7.5, "sig"), MetricName.BLEU: Figure(None, unit="0-100", reason="too short")},
    {
        Needs.TOKEN_SUMS: TokenRows(*TABLE, Tags.of(["data.test[0]", "data.test[1]"]), Tags.of(["", ""])),
        Needs.GENERATED_TEXT: Answers(
            (Prediction("why?", ("because", "so"), "well", cut=True), Prediction("who?", ("me",), "me", False, "data.test[0]", "en-de"))
        ),
        Needs.CLASSES: Classified(("no", "yes"), (ClassPrediction((1,), (0.1, 0.9), "data.test[0]"),)),
    },
)


def test_what_is_undefined_has_no_value() -> None:
    assert FOUND.values() == {MetricName.PERPLEXITY: 7.5}
    assert Measurement().values() == {}


def test_answers_that_were_cut_are_counted() -> None:
    assert (FOUND.cut_answers, Measurement().cut_answers) == (1, 0)


def test_parts_of_texts_are_answers_that_no_model_wrote() -> None:
    found = Measurement(evidence={Needs.SPANS: Answers((Prediction("why?", ("because",), "because"),))})
    assert (len(found.predictions), len(found.generated), found.cut_answers) == (1, 0, 0)
    assert FOUND.generated == FOUND.predictions


def test_the_score_is_the_tasks_with_the_step_of_the_weights() -> None:
    assert FOUND.score(MetricName.PERPLEXITY, 30) == Score.of(MetricName.PERPLEXITY, 7.5, 30)


@pytest.mark.parametrize("figures", [{}, {MetricName.PERPLEXITY: Figure(math.inf)}], ids=["not measured", "infinite"])
def test_without_a_figure_to_judge_by_there_is_no_score(figures: dict[MetricName, Figure]) -> None:
    assert Measurement(figures).score(MetricName.PERPLEXITY, 30) is None


@pytest.mark.parametrize("found", [FOUND, Measurement()], ids=["measured", "no rows"])
def test_a_measurement_is_the_same_after_a_checkpoint(found: Measurement) -> None:
    assert Measurement.from_state(json.loads(json.dumps(found.to_state()))) == found
