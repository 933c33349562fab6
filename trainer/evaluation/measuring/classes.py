"""Measures from the model's probability of each class for every row: one forward pass over all rows, on all ranks.

A row's probabilities depend neither on its batch nor on the number of ranks. Test: tests/trainer/evaluation/measuring/test_classes.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from finetune.api.metrics import MetricName, Needs
from trainer.data.rows import Sample
from trainer.data.shards import Chosen
from trainer.engine.inference import Inference
from trainer.evaluation.heldout import Between, HeldOut
from trainer.evaluation.measurement import Measurement, measured_from
from trainer.evaluation.metrics.evidence import Classified, ClassPrediction, Floats
from trainer.objectives.base import Forward
from trainer.objectives.classification import ClassificationObjective
from trainer.training.batches import AtOnce, deal_evaluation


def probabilities_of_rows(engine: Inference, forward: Forward, objective: ClassificationObjective, rows: Sequence[Sample], at_once: AtOnce,
                          between: Between = lambda: None) -> Floats:  # fmt: skip
    """Return the model's probability of each class for each row, (rows, classes); the same on every rank.

    `between` is called on every rank before each batch; it may raise to end the evaluation, on all ranks or none.
    """
    was_training = engine.model.training
    engine.model.eval()
    found = torch.zeros(len(rows), len(objective.classes), dtype=torch.float64)
    try:
        with torch.no_grad():
            for places in deal_evaluation(rows, engine.rank, engine.world_size, at_once):
                between()
                if places is not None or engine.shards_parameters:
                    # A sharded forward pass needs every rank: one without rows computes some row and ignores the result.
                    batch = objective.collate(list(Chosen(rows, places or [0]))).to(engine.device)
                    probabilities = objective.probabilities(forward, batch)
                    if places is not None:
                        found[places] = probabilities
    finally:
        engine.model.train(was_training)
    # Every row is of one rank, and zero on all others.
    return np.asarray(engine.sum_over_ranks(found.to(engine.device)).cpu().numpy(), np.float64)


def by_classes(engine: Inference, forward: Forward, held_out: HeldOut[Any], names: Sequence[MetricName], between: Between) -> Measurement:
    """Compute metrics from the probabilities of classes; TypeError for a task whose objective has none."""
    objective = held_out.task.objective
    if not isinstance(objective, ClassificationObjective):
        raise TypeError(f"{type(objective).__name__} knows no classes")
    found = probabilities_of_rows(engine, forward, objective, held_out.rows, held_out.at_once, between)
    predictions = tuple(
        ClassPrediction(gold, tuple(probabilities), example.source, example.group)
        for gold, probabilities, example in zip(map(objective.gold, held_out.rows), found.tolist(), held_out.examples, strict=True)
    )
    return measured_from(Needs.CLASSES, Classified(objective.classes, predictions, objective.several), names)


MEASURED_BY = {Needs.CLASSES: by_classes}
