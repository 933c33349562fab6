"""Answers requests, each kind with its predictor, distributed over the ranks.

A task describes what it asks as a request; how to answer it is here, so that neither tasks nor metrics use a model. A kind
without a predictor is an error. Tests: tests/trainer/evaluation/test_predictors.py, tests/trainer/engine/test_invariance.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.api.using import Decoding
from trainer.engine.inference import Inference
from trainer.evaluation.beginning import context_length, is_seq2seq
from trainer.evaluation.filling import fill
from trainer.evaluation.generation import GREEDY, PLAIN, AnswerForm, Generated, generate
from trainer.evaluation.labels import classify
from trainer.evaluation.spans import extract
from trainer.tasks.base import Classify, Extract, Fill, Generate, Request
from trainer.text.encoding import cut_source
from trainer.training.batches import AtOnce

WINDOW_TOKENS = 384
"""Of a question with a part of its text, at most, where it is not known how long the rows were that the model learned: most jobs' are."""
WINDOWS_AT_ONCE = 8
TEXTS_AT_ONCE = 16


@dataclass(frozen=True)
class Limits:
    """Limits of predictions, and how the tokens of generated ones are chosen."""

    prompt_tokens: int
    """A longer prompt loses its beginning; that of an encoder-decoder, its end."""
    new_tokens: int
    tokens_at_once: int | None
    """Tokens of a batch, prompts and answers together; a batch has at least one row. None: any number."""
    rows_at_once: int | None = None
    """Rows of a batch. None: any number."""
    decoding: Decoding = GREEDY
    window_tokens: int | None = None
    """Of a question with a part of its text, at most. None: as many as of a prompt."""
    between: Callable[[], None] = lambda: None
    """Called on every rank before each batch; may raise to end it, on all ranks or none."""


def predict(engine: Inference, tokenizer: Any, requests: Sequence[Request], limits: Limits) -> Sequence[Generated]:
    """Return one answer per request, in order, on every rank. Requests must be of one kind; TypeError for mixed or unknown kinds."""
    kinds = {type(request) for request in requests}
    if len(kinds) != 1 or not kinds <= set(PREDICTORS):
        raise TypeError(f"no predictor for requests of {', '.join(sorted(found.__name__ for found in kinds)) or 'no kind'}")
    [kind] = kinds
    return PREDICTORS[kind](engine, tokenizer, requests, limits)


def _generated(engine: Inference, tokenizer: Any, requests: Sequence[Any], limits: Limits) -> list[Generated]:
    if is_seq2seq(engine.model):
        prompts: list[Sequence[int]] = [cut_source(request.prompt, limits.prompt_tokens, tokenizer) for request in requests]
    else:
        prompts = [request.prompt[-limits.prompt_tokens :] for request in requests]
    firsts = [request.forced_first for request in requests if request.forced_first is not None]
    form = AnswerForm(frozenset().union(*(request.stops for request in requests)), requests[0].opening)
    most, longest = limits.tokens_at_once, max(map(len, prompts)) + limits.new_tokens
    rows = min(limits.rows_at_once or len(prompts), len(prompts) if most is None else max(1, most // longest))
    return generate_over_ranks(engine, tokenizer, prompts, limits.new_tokens, rows, form, limits.decoding, firsts, limits.between)


def _extracted(engine: Inference, tokenizer: Any, requests: Sequence[Any], limits: Limits) -> Sequence[Generated]:
    length = min(limits.prompt_tokens, limits.window_tokens or limits.prompt_tokens, context_length(engine.model))
    at_once = AtOnce(limits.rows_at_once or WINDOWS_AT_ONCE, limits.tokens_at_once)
    return extract(engine, tokenizer, requests, length, at_once, limits.between)


def _classified(engine: Inference, tokenizer: Any, requests: Sequence[Any], limits: Limits) -> Sequence[Generated]:
    length = min(limits.prompt_tokens, context_length(engine.model), tokenizer.model_max_length)
    return classify(engine, requests, length, limits.rows_at_once or TEXTS_AT_ONCE, limits.between)


def _filled(engine: Inference, tokenizer: Any, requests: Sequence[Any], limits: Limits) -> Sequence[Generated]:
    length = min(limits.prompt_tokens, context_length(engine.model), tokenizer.model_max_length)
    return fill(engine, tokenizer, requests, length, limits.between)


Predictor = Callable[[Inference, Any, Sequence[Any], Limits], Sequence[Generated]]
PREDICTORS: Mapping[type[Request], Predictor] = {Generate: _generated, Extract: _extracted, Classify: _classified, Fill: _filled}


def generate_over_ranks(
    engine: Inference, tokenizer: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, batch_size: int, form: AnswerForm = PLAIN,
    decoding: Decoding = GREEDY, firsts: Sequence[int] = (), between: Callable[[], None] = lambda: None,
) -> list[Generated]:  # fmt: skip
    """Return one answer per prompt, in order, on every rank; the prompts, with their `firsts`, are distributed over the ranks.

    `between` is called on every rank before each batch; it may raise, on all ranks or none.
    """
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    at_once, answered = batch_size * engine.world_size, dict[int, Generated]()
    with engine.arithmetic(), engine.whole():
        for start in range(0, len(order), at_once):
            between()
            turn = order[start : start + at_once]
            own = turn[engine.rank :: engine.world_size]
            computed = own
            if engine.shards_parameters:
                # Every rank generates for equally many prompts: a sharded forward pass needs every rank.
                computed = own + [turn[0]] * (-(-len(turn) // engine.world_size) - len(own))
            own_prompts, own_firsts = [list(prompts[index]) for index in computed], [firsts[index] for index in computed] if firsts else []
            answers = generate(
                engine.model, tokenizer, own_prompts, max_new_tokens, batch_size, form, synced=engine.shards_parameters, decoding=decoding,
                firsts=own_firsts,
            )  # fmt: skip
            answered |= dict(zip(own, answers, strict=False))
    whole = {index: answer for part in engine.gather(answered) for index, answer in part.items()}
    return [whole[index] for index in range(len(prompts))]
