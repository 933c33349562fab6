"""Measures from answers that the model writes to some of the rows, token by token, over all ranks.

Tests: tests/trainer/evaluation/measuring/test_generated.py, tests/trainer/evaluation/test_measure_ranks.py.
"""

from collections.abc import Sequence
from typing import Any

from finetune.api.metrics import MetricName, Needs
from trainer.engine.inference import Inference
from trainer.evaluation.heldout import Between, HeldOut
from trainer.evaluation.measurement import Measurement, measured_from
from trainer.evaluation.metrics.evidence import Answers, Prediction
from trainer.evaluation.metrics.registry import left_out
from trainer.evaluation.predictors import Limits, predict
from trainer.evaluation.turns import in_turns
from trainer.objectives.base import Forward


def by_generated_text(engine: Inference, _: Forward, held_out: HeldOut[Any], names: Sequence[MetricName], between: Between) -> Measurement:
    """Compute metrics from answers to some rows of every source and group.

    None are generated if the references leave every metric undefined.
    """
    chosen = in_turns(held_out.examples, held_out.generation.samples)
    asked = [(example, held_out.task.request(example, held_out.tokenizer)) for example in chosen]
    pairs = [(example, request) for example, request in asked if request is not None]
    requests = [request for _, request in pairs]
    missing = left_out([request.references for request in requests], names)
    if len(missing) == len(names):
        return Measurement(missing)
    limits = Limits(held_out.max_length, held_out.generation.max_new_tokens, held_out.at_once.tokens, between=between)
    found = predict(engine, held_out.tokenizer, requests, limits)
    predictions = tuple(
        Prediction(request.shown, request.references, answer.text, answer.cut, example.source, request.group)
        for (example, request), answer in zip(pairs, found, strict=True)
    )
    return measured_from(Needs.GENERATED_TEXT, Answers(predictions, held_out.normalization), names)


MEASURED_BY = {Needs.GENERATED_TEXT: by_generated_text}
