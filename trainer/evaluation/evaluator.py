"""Evaluates a model on held-out rows, over all ranks: token sums of every row, and generated answers to the first rows.

Figures do not depend on batch size or number of ranks: sums are reduced, and divided once. Memory stays below that of a
training step: no more rows at once, and no second copy of their logits. A rank without rows waits, unless parameters are sharded.
Tests: tests/trainer/evaluation/test_evaluator.py, tests/trainer/engine/test_invariance.py.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from finetune.api.metrics import MetricName, Needs, metrics_needing
from finetune.api.sections import Evaluation, Generation
from trainer.data.rows import E, Sample
from trainer.data.shards import totals_of
from trainer.engine.base import Engine
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.metrics.base import Figure, Prediction, TokenSums
from trainer.evaluation.metrics.registry import compute, left_out
from trainer.evaluation.predictors import Limits, predict
from trainer.objectives.base import Forward, Objective
from trainer.tasks.base import Task
from trainer.training.batches import deal_evaluation

SAMPLE_ANSWERS = 3
"""Number of answers in the report, base next to tuned."""


def sum_over_tokens(engine: Engine, objective: Objective[Any], rows: Sequence[Sample], batch_size: int,
                    between: Callable[[], None] = lambda: None, tokens_at_once: int | None = None) -> TokenSums:  # fmt: skip
    """Return the sums over the tokens of all rows; the same on every rank.

    A batch has at most `batch_size` rows and, unless it is a single row, `tokens_at_once` tokens including padding.
    `between` is called on every rank before each batch; it may raise to end the evaluation, on all ranks or none.
    """
    was_training = engine.model.training
    engine.model.eval()
    forward = Forward.of(engine.model, engine.forward)
    nll = 0.0
    try:
        with torch.no_grad():
            for turn in deal_evaluation(rows, engine.rank, engine.world_size, batch_size, tokens_at_once):
                between()
                if turn is not None or engine.shards_parameters:
                    # A sharded forward pass needs every rank: one without rows computes some row and ignores the result.
                    found = objective.nll(forward, objective.collate(list(turn or rows[:1])).to(engine.device))
                    nll += found if turn is not None else 0.0
    finally:
        engine.model.train(was_training)
    total = engine.sums_over_ranks([nll])[0]
    tokens, size = totals_of(rows)
    return TokenSums(nll_sum=total, tokens=tokens, bytes=size)


def measure(engine: Engine, task: Task[E], tokenizer: Any, examples: Sequence[E], rows: Sequence[Sample], evaluation: Evaluation,
            batch_size: int, tokens_at_once: int, max_length: int) -> Measurement:  # fmt: skip
    """Return all figures of the model on the test rows; the same on every rank. `rows` are the tokenized `examples`.

    `max_length` is the job's maximum row length in tokens; a longer prompt loses its beginning. Answers are generated only
    if a metric needs them.
    """
    figures = figures_of_tokens(sum_over_tokens(engine, task.objective, rows, batch_size, tokens_at_once=tokens_at_once))
    names, generation = evaluation.text_metrics_of(task.facts.name), evaluation.generation or Generation()
    if not names:
        return Measurement(figures)
    chosen = examples[: generation.samples]
    requests = [request for example in chosen if (request := task.request(example, tokenizer)) is not None]
    references = [request.reference for request in requests]
    missing = left_out(references, names)
    if len(missing) == len(names):
        return Measurement(figures | missing)
    found = predict(engine, tokenizer, requests, Limits(max_length, generation.max_new_tokens, tokens_at_once))
    predictions = tuple(
        Prediction(request.shown, request.reference, answer.text, answer.cut) for request, answer in zip(requests, found, strict=True)
    )
    return Measurement(figures | compute(names, {Needs.GENERATED_TEXT: predictions}), predictions)


def figures_of_tokens(sums: TokenSums) -> dict[MetricName, Figure]:
    """Return the figures of all metrics that need only token sums, which are those of a validation."""
    return compute(metrics_needing(Needs.TOKEN_SUMS), {Needs.TOKEN_SUMS: [sums]})
