"""Evaluates a model on held-out rows, over all ranks: token sums of every row, and generated answers to the first rows.

Figures do not depend on batch size or number of ranks: sums are reduced, and divided once. Memory stays below that of a
training step: no more rows at once, and no second copy of their logits. A rank without rows waits, unless parameters are sharded.
Tests: tests/trainer/evaluation/test_evaluator.py, tests/trainer/engine/test_invariance.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import torch

from finetune.api.metrics import METRICS, MetricName, Needs
from finetune.api.sections import Generation
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

Between = Callable[[], None]
"""Called on every rank before each batch of an evaluation; may raise to end it, on all ranks or none."""
SAMPLE_ANSWERS = 3
"""Number of answers in the report, base next to tuned."""


def sum_over_tokens(engine: Engine, forward: Forward, objective: Objective[Any], rows: Sequence[Sample], batch_size: int,
                    between: Between = lambda: None, tokens_at_once: int | None = None, *, packed: bool = False) -> TokenSums:  # fmt: skip
    """Return the sums over the tokens of all rows; the same on every rank.

    A batch has at most `batch_size` rows and, unless it is a single row, `tokens_at_once` tokens including padding; if it is
    `packed`, which needs a model that can read that, any number of rows.
    `between` is called on every rank before each batch; it may raise to end the evaluation, on all ranks or none.
    """
    was_training = engine.model.training
    engine.model.eval()
    nll = 0.0
    try:
        with torch.no_grad():
            for turn in deal_evaluation(rows, engine.rank, engine.world_size, batch_size, tokens_at_once, packed=packed):
                between()
                if turn is not None or engine.shards_parameters:
                    # A sharded forward pass needs every rank: one without rows computes some row and ignores the result.
                    found = objective.nll(forward, objective.collate(list(turn or rows[:1]), packed=packed).to(engine.device))
                    nll += found if turn is not None else 0.0
    finally:
        engine.model.train(was_training)
    total = engine.sums_over_ranks([nll])[0]
    tokens, size = totals_of(rows)
    return TokenSums(nll_sum=total, tokens=tokens, bytes=size)


@dataclass(frozen=True)
class HeldOut(Generic[E]):
    """Held-out rows of a task, and the limits of their evaluation."""

    task: Task[E]
    tokenizer: Any
    examples: Sequence[E]
    rows: Sequence[Sample]
    """The tokenized `examples`."""
    batch_size: int
    """Rows of a forward pass."""
    tokens_at_once: int
    """Tokens of a forward pass or of generation, including padding; a batch has at least one row."""
    max_length: int
    """The job's maximum row length in tokens; a longer prompt loses its beginning."""
    generation: Generation
    packed_tokens: int | None = None
    """Tokens of a forward pass over packed rows; None where they are padded."""


def measure(engine: Engine, forward: Forward, held_out: HeldOut[Any], names: Sequence[MetricName],
            between: Between = lambda: None) -> Measurement:  # fmt: skip
    """Return the figures `names` of the model; the same on every rank. Only what a metric needs is computed, and once.

    `between` is called before each batch of a forward pass, as in `sum_over_tokens`. Raises KeyError for a metric that
    nothing in MEASURED_BY is computed from.
    """
    figures: dict[MetricName, Figure] = {}
    predictions: tuple[Prediction, ...] = ()
    for needs in dict.fromkeys(METRICS[name].needs for name in names):
        found = MEASURED_BY[needs](engine, forward, held_out, [name for name in names if METRICS[name].needs is needs], between)
        figures |= found.figures
        predictions += found.predictions
    return Measurement(figures, predictions)


def by_token_sums(engine: Engine, forward: Forward, held_out: HeldOut[Any], names: Sequence[MetricName], between: Between) -> Measurement:
    """Compute metrics from sums over the tokens of every row."""
    packed = held_out.packed_tokens is not None
    tokens_at_once = held_out.packed_tokens if packed else held_out.tokens_at_once
    sums = sum_over_tokens(
        engine, forward, held_out.task.objective, held_out.rows, held_out.batch_size, between, tokens_at_once, packed=packed
    )
    return Measurement(compute(names, {Needs.TOKEN_SUMS: [sums]}))


def by_generated_text(engine: Engine, _: Forward, held_out: HeldOut[Any], names: Sequence[MetricName], between: Between) -> Measurement:
    """Compute metrics from answers to the first rows; none are generated if the references leave every metric undefined."""
    chosen = held_out.examples[: held_out.generation.samples]
    requests = [request for example in chosen if (request := held_out.task.request(example, held_out.tokenizer)) is not None]
    missing = left_out([request.reference for request in requests], names)
    if len(missing) == len(names):
        return Measurement(missing)
    limits = Limits(held_out.max_length, held_out.generation.max_new_tokens, held_out.tokens_at_once)
    found = predict(engine, held_out.tokenizer, requests, limits)
    predictions = tuple(
        Prediction(request.shown, request.reference, answer.text, answer.cut) for request, answer in zip(requests, found, strict=True)
    )
    return Measurement(compute(names, {Needs.GENERATED_TEXT: predictions}), predictions)


MEASURED_BY: Mapping[Needs, Callable[[Engine, Forward, HeldOut[Any], Sequence[MetricName], Between], Measurement]] = {
    Needs.TOKEN_SUMS: by_token_sums,
    Needs.GENERATED_TEXT: by_generated_text,
}
"""How the metrics of each kind are measured; a task may have only kinds that are listed here."""
