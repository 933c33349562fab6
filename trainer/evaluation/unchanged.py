"""The figures of doing nothing: of tasks that improve a text, how good the text is as it was given.

A model has to be better than that to be of use. Needs no model. Test: tests/trainer/evaluation/test_unchanged.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from finetune.api.metrics import METRICS, MetricName, Needs
from trainer.evaluation.measurement import Measurement, measured_from
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.evidence import Answers, Prediction
from trainer.evaluation.metrics.registry import compute
from trainer.tasks.base import Request

ABOUT_MODELS = frozenset({MetricName.UNFINISHED})
"""Metrics of how a model writes, which a text that is only given has not."""


def unchanged(measured: Measurement) -> Measurement:
    """Return the text metrics of answering each row with its own text; nothing where none was asked."""
    found = measured.evidence.get(Needs.GENERATED_TEXT)
    if not isinstance(found, Answers):
        return Measurement()
    kept = tuple(replace(prediction, answer=prediction.prompt, cut=False) for prediction in found.predictions)
    names = [name for name in measured.figures if METRICS[name].needs is Needs.GENERATED_TEXT and name not in ABOUT_MODELS]
    return measured_from(Needs.GENERATED_TEXT, replace(found, predictions=kept), names)


def unchanged_figures(requests: Sequence[Request], like: Answers, names: Sequence[MetricName]) -> Mapping[MetricName, Figure]:
    """Return the same of rows that no model was asked about yet; `like` says how words are compared."""
    given = tuple(Prediction(request.shown, request.references, request.shown) for request in requests)
    return compute(names, {Needs.GENERATED_TEXT: replace(like, predictions=given)})
