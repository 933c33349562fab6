"""Measures from sums over the tokens of every row: one forward pass over all rows, on all ranks.

Figures do not depend on batch size or number of ranks: each row's likelihood is computed for itself, summed in float64 and put in
its place. Memory stays below that of a training step: no more rows at once, and no second copy of their logits. A rank without
rows waits, unless parameters are sharded. Tests: tests/trainer/evaluation/measuring/test_tokens.py,
tests/trainer/engine/test_invariance.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from finetune.api.metrics import MetricName, Needs
from trainer.data.rows import Sample
from trainer.data.shards import Chosen, examples_of, loss_bytes_of, loss_tokens_of
from trainer.engine.inference import Inference
from trainer.evaluation.heldout import Between, HeldOut
from trainer.evaluation.measurement import Measurement, measured_from
from trainer.evaluation.metrics.evidence import Floats, TokenRows
from trainer.objectives.base import Forward, Objective
from trainer.training.batches import AtOnce, deal_evaluation


def nll_of_rows(engine: Inference, forward: Forward, objective: Objective[Any], rows: Sequence[Sample], at_once: AtOnce,
                between: Between = lambda: None) -> Floats:  # fmt: skip
    """Return the negative log-likelihood of each row's tokens with loss, in nats: (rows,); the same on every rank.

    If `at_once` packs rows, the model must be able to read them. `between` is called on every rank before each batch; it may raise
    to end the evaluation, on all ranks or none.
    """
    was_training = engine.model.training
    engine.model.eval()
    found, packed = torch.zeros(len(rows), dtype=torch.float64), at_once.packed is not None
    try:
        with torch.no_grad():
            for places in deal_evaluation(rows, engine.rank, engine.world_size, at_once):
                between()
                if places is not None or engine.shards_parameters:
                    # A sharded forward pass needs every rank: one without rows computes some row and ignores the result.
                    batch = objective.collate(list(Chosen(rows, places or [0])), packed=packed).to(engine.device)
                    nll = objective.nll(forward, batch)
                    if places is not None:
                        found[places] = nll
    finally:
        engine.model.train(was_training)
    # Every row is of one rank, and zero on all others.
    return np.asarray(engine.sum_over_ranks(found.to(engine.device)).cpu().numpy(), np.float64)


def token_rows(engine: Inference, forward: Forward, objective: Objective[Any], rows: Sequence[Sample], at_once: AtOnce,
               between: Between = lambda: None, count: int = 0) -> TokenRows:  # fmt: skip
    """Return the sums over the tokens of each example, whose rows may be several; arguments as of `nll_of_rows`.

    `count` is the number of examples, of which the last may have no row.
    """
    nll, examples = nll_of_rows(engine, forward, objective, rows, at_once, between), examples_of(rows)
    tokens, size = (np.bincount(examples, weights, count).astype(np.int64) for weights in (loss_tokens_of(rows), loss_bytes_of(rows)))
    return TokenRows(np.bincount(examples, nll, count).astype(np.float64), tokens, size)


def _by_sums(needs: Needs) -> Callable[[Inference, Forward, HeldOut[Any], Sequence[MetricName], Between], Measurement]:
    """Return what computes metrics from sums over the tokens of every row that have loss: all of them, or the masked ones."""

    def measured(engine: Inference, forward: Forward, held_out: HeldOut[Any], names: Sequence[MetricName], between: Between) -> Measurement:
        found = token_rows(engine, forward, held_out.task.objective, held_out.rows, held_out.at_once, between, len(held_out.examples))
        source, group = held_out.tags()
        return measured_from(needs, replace(found, source=source, group=group), names)

    return measured


MEASURED_BY = {needs: _by_sums(needs) for needs in (Needs.TOKEN_SUMS, Needs.MASKED_SUMS)}
