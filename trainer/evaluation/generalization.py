"""How much better a model knows its training rows than others: the loss on a sample of both, validation by validation.

Both losses are of the weights as they are, without dropout, penalties or augmentation, so that their difference, the gap, is what was
learned by heart. Test: tests/trainer/evaluation/test_generalization.py.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from finetune.api.record import Generalization
from finetune.api.trainconfig import TrainConfig
from trainer.data.rows import Sample
from trainer.data.sampler import random_for
from trainer.data.shards import Chosen, loss_tokens_of
from trainer.engine.inference import Inference
from trainer.evaluation.heldout import Between
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.measuring.tokens import nll_of_rows
from trainer.evaluation.metrics.evidence import Classified, TokenRows
from trainer.objectives.base import Forward, Objective
from trainer.training.batches import AtOnce

SAMPLED_ROWS = 200
"""Training rows at most, however many validation rows there are: a forward pass over them takes as long as two training steps of the
default batch, and a mean over them is off by a fourteenth of the spread between rows."""
WORSE = 2
"""Validations in a row before the warning: one alone may be chance."""
LEAST_RISE = 0.01
"""Nats for each unit, 1 % of perplexity: by less the loss of a model that is nearly always right moves from validation to validation."""


STOPPING, AUGMENTATION = "regularization.earlyStopping", "augmentation"
REMEDIES = (STOPPING, "fewer training.epochs", "more of regularization (dropout, weightDecay)", AUGMENTATION, "more rows")


def remedies_of(config: TrainConfig) -> list[str]:
    """Return what a user can do against the overfitting of a run.

    One whose model is used beside the job's own learns a corpus, which the job's early stopping and augmentation do not act on.
    """
    of_corpus = config.derived is not None and not config.derived.figures_only
    useless = {STOPPING} if config.regularization.early_stopping is not None else set[str]()
    return [remedy for remedy in REMEDIES if remedy not in useless | ({STOPPING, AUGMENTATION} if of_corpus else set())]


def count_sampled(rows: int, wanted: int) -> int:
    """Return how many of so many rows are measured, if `wanted` are."""
    return min(rows, wanted, SAMPLED_ROWS)


def sampled(rows: Sequence[Sample], wanted: int, seed: int, what: str) -> Sequence[Sample]:
    """Return `wanted` of the rows, at most `SAMPLED_ROWS`: always the same ones for the same seed; `what` they are."""
    count = count_sampled(len(rows), wanted)
    return list(Chosen(rows, sorted(random_for("generalization", what, seed).sample(range(len(rows)), count))))


def mean_loss(engine: Inference, forward: Forward, objective: Objective[Any], rows: Sequence[Sample], at_once: AtOnce,
              between: Between) -> float:  # fmt: skip
    """Return the negative log-likelihood of the rows for each unit with loss, in nats; nan without any. Every rank takes part."""
    nll, units = nll_of_rows(engine, forward, objective, rows, at_once, between), int(loss_tokens_of(rows).sum())
    return float(nll.sum()) / units if units else math.nan


def measured_loss(found: Measurement) -> float | None:
    """Return the mean loss of the rows that figures were computed from; None where the evidence does not tell likelihoods."""
    for evidence in found.evidence.values():
        if isinstance(evidence, TokenRows):
            return evidence.sums.nll_sum / evidence.sums.tokens if evidence.sums.tokens else math.nan
        if isinstance(evidence, Classified) and evidence.predictions:
            return _loss_of_classes(evidence)
    return None


def _loss_of_classes(found: Classified) -> float:
    """Return the mean over decisions, as the objective counts them: one a row, or one a row and class."""
    given = np.where(found.right, found.probabilities, 1 - found.probabilities if found.several else 1.0)
    with np.errstate(divide="ignore"):
        nll = -np.log(given).sum()
    return float(nll) / (found.right.size if found.several else len(found.predictions))


def point_of(step: int, train_loss: float, validation_loss: float) -> Generalization | None:
    """Return both losses at a step; None where one is not a number."""
    if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
        return None
    return Generalization(step=step, train_loss=train_loss, validation_loss=validation_loss, gap=validation_loss - train_loss)


def warnings_of(curve: Sequence[Generalization], remedies: Sequence[str]) -> list[str]:
    """Return what is to be said of a curve, in order of steps, in which the gap grew while unseen rows became less likely.

    That is so after `WORSE` validations in a row that are worse than the best one by `LEAST_RISE`, with a larger gap. Where training rows
    became less likely too, something else is said, once, and the rows may be learned by heart later. A longer curve has the same warnings
    first. `remedies`: what helps against overfitting, in words.
    """
    best, worse, said = None, 0, list[str]()
    for point in curve:
        if best is None or point.validation_loss <= best.validation_loss:
            best, worse = point, 0
            continue
        rise = point.validation_loss - best.validation_loss
        worse = worse + 1 if point.gap > best.gap and rise >= LEAST_RISE else 0
        if worse < WORSE:
            continue
        if point.train_loss <= best.train_loss:
            return [*said, _overfits(best, point, remedies)]
        said, worse = said or [_both_rise(best, point)], 0
    return said


def _both_rise(best: Generalization, point: Generalization) -> str:
    """Return the warning where training rows become less likely too: the steps are too large, and nothing is overfitted."""
    return (
        f"both losses rise since step {best.step}: {_risen(best, point)}, and training loss from {best.train_loss:.4f} to"
        f" {point.train_loss:.4f}; try a lower training.learningRate, or a longer training.warmupRatio"
    )


def _overfits(best: Generalization, point: Generalization, remedies: Sequence[str]) -> str:
    return (
        f"overfitting since step {best.step}: {_risen(best, point)} while training loss fell from {best.train_loss:.4f} to"
        f" {point.train_loss:.4f}; try {', '.join(remedies[:-1])} or {remedies[-1]}"
    )


def _risen(best: Generalization, point: Generalization) -> str:
    return f"by step {point.step} validation loss rose from {best.validation_loss:.4f} to {point.validation_loss:.4f} nats"
