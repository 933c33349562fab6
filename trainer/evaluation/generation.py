"""Generates answers in batches; an answer does not depend on the others in its batch, drawn or not.

Leaves the model unchanged: its mode is restored, and its own sampling settings are ignored. Test:
tests/trainer/evaluation/test_generation.py.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedTokenizerBase
from transformers.generation.logits_process import LogitsProcessorList
from transformers.generation.stopping_criteria import StoppingCriteria, StoppingCriteriaList

from finetune.api.using import Decoding
from trainer.evaluation.beginning import inputs_of, is_seq2seq, kept_of, own_first
from trainer.evaluation.drawing import drawing
from trainer.objectives.family import decoder_start_of
from trainer.text.encoding import sequence_ends

DEFAULT_BATCH_SIZE = 8
GREEDY = Decoding()


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

    def to_wire(self) -> Any:
        """Return the answer as the commands write it: JSON."""
        return self.text


def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    batch_size: int = DEFAULT_BATCH_SIZE,
    form: AnswerForm = PLAIN,
    *,
    synced: bool = False,
    decoding: Decoding = GREEDY,
    firsts: Sequence[int] = (),
    between: Callable[[], None] = lambda: None,
) -> list[Generated]:
    """Return the answer to each prompt (token ids), up to the first stop token, without special tokens; the greedy one by default.

    The form's opening is removed, as in references. A prompt that leaves too little room in the model's context loses its
    beginning. `synced`: parameters are sharded (ZeRO-3), so every rank generates until all have stopped and must pass equally
    many prompts. Raises ValueError for an empty prompt.

    The prompts of an encoder-decoder are what its encoder reads, and lose their end where they are too long. Each of its answers
    is made to begin with the token for it in `firsts`, such as a language; without any, with that of the model's own settings, if it
    has one. Such a token is no part of the answer. `between` is called after each batch.
    """
    if any(not prompt for prompt in prompts):
        raise ValueError("a prompt has no tokens")
    stops = sorted(form.stops | sequence_ends(model, tokenizer))
    kept = kept_of(model, tokenizer, prompts, max_new_tokens)
    beginnings = [[first] for first in firsts] or [own_first(model)] * len(kept)
    answers: dict[int, Generated] = {}
    with _neutral(model) as generator:
        # Prompts of similar length share a batch: less padding, less work.
        order = sorted(range(len(kept)), key=lambda row: (len(kept[row]), row))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            given = [kept[row] for row in rows], [beginnings[row] for row in rows]
            tokens = _answer(generator, *given, stops, max_new_tokens, decoding, synced=synced)
            for row, (answer, cut) in zip(rows, tokens, strict=True):
                answers[row] = Generated(text_of(answer, tokenizer, form), cut)
            between()
    return [answers[row] for row in range(len(kept))]


def text_of(answer: Sequence[int], tokenizer: PreTrainedTokenizerBase, form: AnswerForm) -> str:
    """Return the words of an answer: its tokens before a stop, without the form's opening and special tokens."""
    opening = list(form.opening)
    words = list(answer)[len(opening) :] if list(answer[: len(opening)]) == opening else list(answer)
    return str(tokenizer.decode(words, skip_special_tokens=True)).strip()


def generate_one(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    max_new_tokens: int,
    form: AnswerForm,
    decoding: Decoding,
    watch: Callable[[list[int]], bool],
) -> Generated:
    """Return the answer that `generate` returns, but have each token watched, with the tokens so far; True ends the answer there.

    Raises ValueError for an empty prompt.
    """
    if not prompt:
        raise ValueError("the prompt has no tokens")
    stops = sorted(form.stops | sequence_ends(model, tokenizer))
    with _neutral(model) as generator:
        [(answer, cut)] = _answer(
            generator, kept_of(model, tokenizer, [prompt], max_new_tokens), [own_first(model)], stops, max_new_tokens, decoding, watch=watch
        )
    return Generated(text_of(answer, tokenizer, form), cut)


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


def _answer(
    model: Any, prompts: list[list[int]], beginnings: list[list[int]], stops: list[int], max_new_tokens: int, decoding: Decoding, *,
    synced: bool = False, watch: Callable[[list[int]], bool] | None = None,
) -> list[tuple[list[int], bool]]:  # fmt: skip
    """Return each row's new tokens before its first stop token, and whether there was none."""
    # Any padding id works, because the mask hides it. Position ids follow the mask.
    padding = stops[0] if stops else 0
    given, width = inputs_of(model, prompts, beginnings, padding, _device(model))
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, num_beams=decoding.beams, use_cache=True, eos_token_id=stops or None,
        pad_token_id=padding, decoder_start_token_id=decoder_start_of(model.config) if is_seq2seq(model) else None,
    )  # fmt: skip
    more: dict[str, Any] = {"logits_processor": LogitsProcessorList(drawing(decoding, prompts))} if decoding.draws else {}
    if watch is not None:
        more["stopping_criteria"] = StoppingCriteriaList([_Watched(watch, width, stops)])
    with torch.no_grad():
        output: Tensor = model.generate(**given, generation_config=settings, synced_gpus=synced, **more)
    return [_until(row[width:].tolist(), stops) for row in output]


class _Watched(StoppingCriteria):  # type: ignore[misc]  # of a class without types
    """Has someone see the answer of one row after each of its tokens."""

    def __init__(self, watch: Callable[[list[int]], bool], width: int, stops: Iterable[int]) -> None:
        self._watch, self._width, self._stops = watch, width, stops

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Return whether the row ends: of shape (1,)."""
        answer, _cut = _until(input_ids[0, self._width :].tolist(), self._stops)
        return torch.full((1,), fill_value=self._watch(answer), device=input_ids.device, dtype=torch.bool)


def _until(tokens: list[int], stops: Iterable[int]) -> tuple[list[int], bool]:
    for position, token in enumerate(tokens):
        if token in stops:
            return tokens[:position], False
    return tokens, True


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
