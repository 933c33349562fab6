"""Generates greedy answers in batches; an answer does not depend on the others in its batch.

Leaves the model unchanged: its mode is restored, and its own sampling settings are ignored. Test:
tests/trainer/evaluation/test_generation.py.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from trainer.text.encoding import sequence_ends

DEFAULT_BATCH_SIZE = 8


@dataclass(frozen=True)
class AnswerForm:
    """How answers begin and end, in addition to the end-of-sequence token."""

    stops: frozenset[int] = frozenset()
    """Ids of tokens that end an answer."""
    opening: tuple[int, ...] = ()
    """Tokens that may precede its words and are not part of it, such as an empty thought."""


PLAIN = AnswerForm()


@dataclass(frozen=True)
class Generated:
    """An answer. `cut`: it reached the token limit before the model ended it."""

    text: str
    cut: bool


def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    batch_size: int = DEFAULT_BATCH_SIZE,
    form: AnswerForm = PLAIN,
    *,
    synced: bool = False,
) -> list[Generated]:
    """Return the greedy answer to each prompt (token ids), up to the first stop token, without special tokens.

    The form's opening is removed, as in references. A prompt that leaves too little room in the model's context loses its
    beginning. `synced`: parameters are sharded (ZeRO-3), so every rank generates until all have stopped and must pass equally
    many prompts. Raises ValueError for an empty prompt.
    """
    if any(not prompt for prompt in prompts):
        raise ValueError("a prompt has no tokens")
    stops, opening = sorted(form.stops | sequence_ends(model, tokenizer)), list(form.opening)
    room = _context_length(model) - max_new_tokens
    kept = [list(prompt)[-room:] if room > 0 else list(prompt) for prompt in prompts]
    answers: dict[int, Generated] = {}
    with _neutral(model) as generator:
        # Prompts of similar length share a batch: less padding, less work.
        order = sorted(range(len(kept)), key=lambda row: (len(kept[row]), row))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            tokens = _answer(generator, [kept[row] for row in rows], stops, max_new_tokens, synced)
            for row, (answer, cut) in zip(rows, tokens, strict=True):
                words = answer[len(opening) :] if answer[: len(opening)] == opening else answer
                answers[row] = Generated(str(tokenizer.decode(words, skip_special_tokens=True)).strip(), cut)
    return [answers[row] for row in range(len(kept))]


@contextmanager
def _neutral(model: Any) -> Iterator[Any]:
    """Yield the transformers model, in evaluation mode and without its own generation settings; restore both afterwards.

    transformers fills unset fields of a generation config, such as a repetition penalty, from the model's own.
    """
    generator = model.get_base_model() if hasattr(model, "get_base_model") else model
    was_training, own_settings = model.training, generator.generation_config
    model.eval()
    generator.generation_config = GenerationConfig()
    try:
        yield generator
    finally:
        generator.generation_config = own_settings
        model.train(was_training)


def _answer(model: Any, prompts: list[list[int]], stops: list[int], max_new_tokens: int, synced: bool) -> list[tuple[list[int], bool]]:
    """Return each row's new tokens before its first stop token, and whether there was none."""
    width = max(len(prompt) for prompt in prompts)
    device = _device(model)
    # Any padding id works, because the mask hides it. Position ids follow the mask.
    padding = stops[0] if stops else 0
    input_ids = torch.tensor([[padding] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, use_cache=True, eos_token_id=stops or None, pad_token_id=padding
    )
    with torch.no_grad():
        output: Tensor = model.generate(input_ids=input_ids, attention_mask=mask, generation_config=settings, synced_gpus=synced)
    return [_until(row[width:].tolist(), stops) for row in output]


def _until(tokens: list[int], stops: Iterable[int]) -> tuple[list[int], bool]:
    for position, token in enumerate(tokens):
        if token in stops:
            return tokens[:position], False
    return tokens, True


def _context_length(model: Any) -> int:
    return int(getattr(model.config, "max_position_embeddings", None) or 1 << 30)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
