"""What a model is given before it generates: a decoder's prompt, or an encoder's source with the token that answers begin after.

Test: tests/trainer/evaluation/test_generation_seq2seq.py, tests/trainer/evaluation/test_generation.py.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trainer.objectives.family import decoder_start_of
from trainer.text.encoding import cut_source

UNLIMITED = 1 << 30


def is_seq2seq(model: Any) -> bool:
    """Return whether a model reads with an encoder and answers with a decoder of its own."""
    return bool(model.config.is_encoder_decoder)


def context_length(model: Any) -> int:
    """Return how many tokens the model reads: prompt and answer together, or an encoder's source; very many where no limit is named."""
    config = model.config.encoder if hasattr(model.config, "encoder") else model.config
    names = ("max_encoder_position_embeddings", "max_position_embeddings")
    return next((int(found) for name in names if (found := getattr(config, name, None))), UNLIMITED)


def kept_of(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[list[int]]:
    """Return the prompts as far as the model has positions for them: without their beginning, or an encoder's without their end."""
    positions = context_length(model)
    if is_seq2seq(model):
        return [cut_source(prompt, positions, tokenizer) for prompt in prompts]
    room = positions - max_new_tokens
    return [list(prompt)[-room:] if room > 0 else list(prompt) for prompt in prompts]


def own_first(model: Any) -> list[int]:
    """Return the token that the model's own settings make answers begin with, as a list; empty if there is none."""
    first = getattr(model.generation_config, "forced_bos_token_id", None) if is_seq2seq(model) else None
    return [] if first is None else [int(first)]


def inputs_of(
    model: Any, prompts: Sequence[list[int]], beginnings: Sequence[list[int]], padding: int, device: torch.device
) -> tuple[dict[str, Tensor], int]:
    """Return the arguments of `generate` for a batch, and after how many tokens of its output the answers begin.

    A decoder continues its prompt, so padding is on the left; an encoder reads it as in training, with padding on the right.
    `beginnings`, all of one length, are what an encoder-decoder's answers are made to begin with.
    """
    longest = max(len(prompt) for prompt in prompts)
    gaps = [[padding] * (longest - len(prompt)) for prompt in prompts]
    read, hidden = [[1] * len(prompt) for prompt in prompts], [[0] * len(gap) for gap in gaps]
    if not is_seq2seq(model):
        return {"input_ids": _joined(gaps, prompts, device), "attention_mask": _joined(hidden, read, device)}, longest
    start = decoder_start_of(model.config)
    begun = torch.tensor([[start, *beginning] for beginning in beginnings], device=device)
    given = {"input_ids": _joined(prompts, gaps, device), "attention_mask": _joined(read, hidden, device)}
    return {**given, "decoder_input_ids": begun}, begun.shape[1]


def _joined(left: Sequence[list[int]], right: Sequence[list[int]], device: torch.device) -> Tensor:
    return torch.tensor([[*one, *other] for one, other in zip(left, right, strict=True)], device=device)
