"""Answers requests, each kind with its predictor, distributed over the ranks.

A task describes what it asks as a request; how to answer it is here, so that neither tasks nor metrics use a model. A kind
without a predictor is an error. Tests: tests/trainer/evaluation/test_predictors.py, tests/trainer/engine/test_invariance.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.engine.base import Engine
from trainer.evaluation.generation import PLAIN, AnswerForm, Generated, generate
from trainer.tasks.base import Generate, Request


@dataclass(frozen=True)
class Limits:
    """Token limits of predictions."""

    prompt_tokens: int
    """A longer prompt loses its beginning."""
    new_tokens: int
    tokens_at_once: int
    """Tokens of a batch, prompts and answers together; a batch has at least one row."""


def predict(engine: Engine, tokenizer: Any, requests: Sequence[Request], limits: Limits) -> list[Generated]:
    """Return one answer per request, in order, on every rank. Requests must be of one kind; TypeError for mixed or unknown kinds."""
    kinds = {type(request) for request in requests}
    if len(kinds) != 1 or not kinds <= set(PREDICTORS):
        raise TypeError(f"no predictor for requests of {', '.join(sorted(found.__name__ for found in kinds)) or 'no kind'}")
    [kind] = kinds
    return PREDICTORS[kind](engine, tokenizer, requests, limits)


def _generated(engine: Engine, tokenizer: Any, requests: Sequence[Any], limits: Limits) -> list[Generated]:
    prompts = [request.prompt[-limits.prompt_tokens :] for request in requests]
    form = AnswerForm(frozenset().union(*(request.stops for request in requests)), requests[0].opening)
    rows_at_once = max(1, limits.tokens_at_once // (max(map(len, prompts)) + limits.new_tokens))
    return generate_over_ranks(engine, tokenizer, prompts, limits.new_tokens, rows_at_once, form)


Predictor = Callable[[Engine, Any, Sequence[Any], Limits], list[Generated]]
PREDICTORS: Mapping[type[Request], Predictor] = {Generate: _generated}


def generate_over_ranks(
    engine: Engine, tokenizer: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, batch_size: int, form: AnswerForm = PLAIN
) -> list[Generated]:
    """Return one answer per prompt, in order, on every rank; the prompts are distributed over the ranks."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    own = order[engine.rank :: engine.world_size]
    computed = own
    if engine.shards_parameters:
        # Every rank generates for equally many prompts, for the same reason as in sum_over_tokens.
        computed = own + [order[0]] * (-(-len(prompts) // engine.world_size) - len(own))
    own_prompts = [list(prompts[index]) for index in computed]
    with engine.arithmetic():
        answers = generate(engine.model, tokenizer, own_prompts, max_new_tokens, batch_size, form, synced=engine.shards_parameters)
    answered = dict(pair for rank_pairs in engine.gather(list(zip(own, answers, strict=False))) for pair in rank_pairs)
    return [answered[index] for index in range(len(prompts))]
