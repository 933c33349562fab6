"""Checks rows against the model's limits: tokens in a row, and token ids. Beyond them a worker would fail with an IndexError.

Test: tests/trainer/preflight/test_limits.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.api.errors import InputError
from finetune.api.evaluation import Generation
from finetune.api.tasks import ModelFamily, Route
from finetune.api.trainconfig import TrainConfig
from trainer.data.rows import Sample
from trainer.data.shards import loss_tokens_of, read_lengths_of, token_blocks


@dataclass(frozen=True)
class ModelLimits:
    """Limits of a model's input; None if its configuration does not say."""

    positions: int | None = None
    """Tokens that it was trained to read in a row."""
    answer_positions: int | None = None
    """Tokens of an answer that an encoder-decoder was trained for."""
    fixed: bool = False
    """Whether more positions are impossible, not just worse."""
    vocabulary: int | None = None
    """Number of token embeddings; ids are below it."""


def limit_findings(sides: Iterable[Sequence[Sample]], tokenizer: Any, config: TrainConfig, route: Route, limits: ModelLimits) -> list[str]:
    """Find rows longer than the model's context, and tokens without an embedding; raises InputError where the model would fail."""
    sides = list(sides)
    longest, answer = longest_of(sides, route)
    # What follows the text that an encoder reads are classes or positions, no tokens.
    tails = route.family is not ModelFamily.ENCODER
    largest = max((int(block.max(initial=0)) for rows in sides for block in token_blocks(rows, tails=tails)), default=0)
    return [
        *_length_findings(longest, "rows", limits.positions, limits),
        *_length_findings(answer, "answers", limits.answer_positions, limits),
        *_generation_findings(config, route, limits),
        *_token_findings(largest, tokenizer, limits),
    ]


def longest_of(sides: Iterable[Sequence[Sample]], route: Route) -> tuple[int, int]:
    """Return the most tokens that the model reads of a row, and that a decoder of its own writes (0 where it has none)."""
    longest = answer = 0
    for rows in sides:
        longest = max(longest, int(read_lengths_of(rows).max(initial=0)))
        if route.family is ModelFamily.SEQ2SEQ:
            answer = max(answer, int(loss_tokens_of(rows).max(initial=0)))
    return longest, answer


def _length_findings(longest: int, what: str, positions: int | None, limits: ModelLimits) -> list[str]:
    if positions is None or longest <= positions:
        return []
    problem = f"allows {what} of {longest} tokens, but the model has positions for {positions}"
    if limits.fixed:
        raise InputError("training.maxSequenceLength", problem, f"set it to {positions} or less")
    return [f"training.maxSequenceLength: {problem}; it was not trained for later ones"]


def _generation_findings(config: TrainConfig, route: Route, limits: ModelLimits) -> list[str]:
    apart = route.family is ModelFamily.SEQ2SEQ
    positions = limits.answer_positions if apart else limits.positions
    wanted = (config.evaluation.generation or Generation()).max_new_tokens
    if not config.text_metrics(route) or positions is None or wanted < positions:
        return []
    problem = f"{wanted} new tokens leave no room for a prompt in the model's {positions} positions"
    if apart:  # the token that answers begin after takes one of them
        problem = f"answers of {wanted} new tokens do not fit the {positions} positions of the model's decoder"
    if limits.fixed:
        raise InputError("evaluation.generation.maxNewTokens", problem, f"set it to less than {positions}")
    return [f"evaluation.generation.maxNewTokens: {problem}"]


def _token_findings(largest: int, tokenizer: Any, limits: ModelLimits) -> list[str]:
    if limits.vocabulary is None:
        return []
    if largest >= limits.vocabulary:
        token = tokenizer.convert_ids_to_tokens(largest)
        problem = f"the rows have the token {token!r} with id {largest}, but the model's vocabulary ends before {limits.vocabulary}"
        raise InputError("model", problem, "use the tokenizer that belongs to the model")
    known = 1 + max(tokenizer.get_vocab().values(), default=-1)
    if known > limits.vocabulary:
        # Not refused: the tokenizers of some published models have tokens, such as for images, that only their larger siblings use.
        return [f"model: its tokenizer has {known} tokens but its vocabulary only {limits.vocabulary}; a row with a token beyond it fails"]
    return []
