"""Measures answers against references by the metrics of generated text, for their tests."""

from collections.abc import Sequence

from finetune.api.metrics import MetricName, Needs, metrics_needing
from trainer.evaluation.metrics.base import Figure, Prediction
from trainer.evaluation.metrics.registry import compute

ALL = metrics_needing(Needs.GENERATED_TEXT)
REFERENCES = ["The operator starts one Ray job per attempt.", "Checkpoints are verified by reading back.", "It resumes from step 40."]
HYPOTHESES = ["The operator starts a Ray job for each attempt.", "Checkpoints are verified by reading back!", "it resumes"]


def measured_by(references: Sequence[str], answers: Sequence[str], names: Sequence[str]) -> dict[MetricName, Figure]:
    predictions = [Prediction("", reference, answer) for reference, answer in zip(references, answers, strict=True)]
    return compute([MetricName(name) for name in names], {Needs.GENERATED_TEXT: predictions})
