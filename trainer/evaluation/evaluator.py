"""Evaluates a model on held-out rows, over all ranks: figures by name, each kind in its own way.

How the metrics of a kind are measured is a file of trainer/evaluation/measuring. Tests: tests/trainer/evaluation/test_evaluator.py,
tests/trainer/engine/test_invariance.py.
"""

from collections.abc import Sequence
from typing import Any

from finetune.api.metrics import METRICS, MetricName, Needs
from trainer.engine.inference import Inference
from trainer.evaluation.heldout import Between, HeldOut
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.measuring.registry import ways
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.evidence import Evidence
from trainer.objectives.base import Forward


def measure(engine: Inference, forward: Forward, held_out: HeldOut[Any], names: Sequence[MetricName],
            between: Between = lambda: None) -> Measurement:  # fmt: skip
    """Return the figures `names` of the model; the same on every rank. Only what a metric needs is computed, and once.

    `between` is called before each batch of a forward pass, and may raise to end the evaluation, on all ranks or none. Raises
    KeyError for a metric that no file of trainer/evaluation/measuring measures.
    """
    figures: dict[MetricName, Figure] = {}
    evidence: dict[Needs, Evidence] = {}
    for needs in dict.fromkeys(METRICS[name].needs for name in names):
        found = ways()[needs](engine, forward, held_out, [name for name in names if METRICS[name].needs is needs], between)
        figures |= found.figures
        evidence |= found.evidence
    return Measurement(figures, evidence)
