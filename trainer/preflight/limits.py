"""Checks rows against the model's limits: tokens in a row, and token ids. Beyond them a worker would fail with an IndexError.

Test: tests/trainer/preflight/test_limits.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.api.errors import InputError
from finetune.api.sections import Generation
from finetune.api.trainconfig import TrainConfig
from trainer.data.rows import Sample
from trainer.data.shards import lengths_of, token_blocks


@dataclass(frozen=True)
class ModelLimits:
    """Limits of a model's input; None if its configuration does not say."""

    positions: int | None = None
    """Tokens in a row that it was trained for."""
    fixed: bool = False
    """Whether more positions are impossible, not just worse."""
    vocabulary: int | None = None
    """Number of token embeddings; ids are below it."""


def limit_findings(sides: Iterable[Sequence[Sample]], tokenizer: Any, config: TrainConfig, limits: ModelLimits) -> list[str]:
    """Find rows longer than the model's context, and tokens without an embedding; raises InputError where the model would fail."""
    longest = largest = 0
    for rows in sides:
        longest = max(longest, int(lengths_of(rows).max(initial=0)))
        largest = max([largest, *(int(block.max(initial=0)) for block in token_blocks(rows))])
    return [*_length_findings(longest, limits), *_generation_findings(config, limits), *_token_findings(largest, tokenizer, limits)]


def _length_findings(longest: int, limits: ModelLimits) -> list[str]:
    if limits.positions is None or longest <= limits.positions:
        return []
    problem = f"allows rows of {longest} tokens, but the model has positions for {limits.positions}"
    if limits.fixed:
        raise InputError("training.maxSequenceLength", problem, f"set it to {limits.positions} or less")
    return [f"training.maxSequenceLength: {problem}; it was not trained for later ones"]


def _generation_findings(config: TrainConfig, limits: ModelLimits) -> list[str]:
    wanted = (config.evaluation.generation or Generation()).max_new_tokens
    if not config.evaluation.text_metrics_of(config.task) or limits.positions is None or wanted < limits.positions:
        return []
    problem = f"{wanted} new tokens leave no room for a prompt in the model's {limits.positions} positions"
    if limits.fixed:
        raise InputError("evaluation.generation.maxNewTokens", problem, f"set it to less than {limits.positions}")
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
