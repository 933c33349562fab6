"""Measures from the parts of texts that the model chooses as answers: a forward pass over the windows of every row, on all ranks.

Tests: tests/trainer/evaluation/measuring/test_spans.py.
"""

from collections.abc import Sequence
from typing import Any

from finetune.api.metrics import MetricName, Needs
from trainer.data.sampled import Each
from trainer.engine.inference import Inference
from trainer.evaluation.heldout import Between, HeldOut
from trainer.evaluation.measurement import Measurement, measured_from
from trainer.evaluation.metrics.evidence import Answers, Prediction
from trainer.evaluation.spans import extract
from trainer.objectives.base import Forward

NO_ANSWER = ("",)
"""The reference of a question that its text does not answer: nothing is right."""


def by_spans(engine: Inference, _: Forward, held_out: HeldOut[Any], names: Sequence[MetricName], between: Between) -> Measurement:
    """Compute metrics from the answers to all rows; the references of a row without answers are empty."""
    asked = Each(held_out.examples, lambda example: held_out.task.request(example, held_out.tokenizer))
    found = extract(engine, held_out.tokenizer, asked, held_out.max_length, held_out.at_once, between)
    predictions = tuple(
        Prediction(request.shown, request.references or NO_ANSWER, answer.text, False, example.source, example.group)
        for example, request, answer in zip(held_out.examples, asked, found, strict=True)
    )
    return measured_from(Needs.SPANS, Answers(predictions, held_out.normalization), names)


MEASURED_BY = {Needs.SPANS: by_spans}
