"""How good texts are without any model."""

import jiwer
import pytest

from finetune.api.metrics import MetricName, Needs
from trainer.evaluation.measurement import Measurement, measured_from
from trainer.evaluation.metrics.evidence import Answers, Prediction
from trainer.evaluation.unchanged import unchanged, unchanged_figures
from trainer.tasks.base import Request

ROWS = [("i sea the light", "i see the light"), ("two to two", "two to two"), ("a b", "a b c d")]
NAMES = [MetricName.WER, MetricName.CER, MetricName.CHRF, MetricName.UNFINISHED]
WER = jiwer.wer([reference for _, reference in ROWS], [given for given, _ in ROWS])


def test_the_figures_are_those_of_the_texts_themselves() -> None:
    predictions = tuple(Prediction(given, (reference,), "something else", cut=True) for given, reference in ROWS)

    found = unchanged(measured_from(Needs.GENERATED_TEXT, Answers(predictions), NAMES))

    assert list(found.figures) == NAMES[:3], "nothing is unfinished where nothing is written"
    assert found.figures[MetricName.WER].value == pytest.approx(WER)
    assert found.predictions == tuple(Prediction(given, (reference,), given) for given, reference in ROWS)


def test_they_are_known_before_any_model_is_asked() -> None:
    figures = unchanged_figures([Request((reference,), given) for given, reference in ROWS], Answers(), [MetricName.WER])

    assert figures[MetricName.WER].value == pytest.approx(WER)


def test_there_are_none_where_nothing_was_asked() -> None:
    assert unchanged(Measurement()).figures == {}
