"""Turns conversations into tokens, and says which of them bear loss: the assistant's turns with their end, never by pad id.

The text is made by the tokenizer's own chat template and tokenized once, without special tokens of its own, so that no
beginning-of-sequence token doubles. Whose words a token is follows from its place in that text. Tests:
tests/trainer/data/test_chat.py.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from trainer.config.errors import InputError
from trainer.data.rows import Example, Tokens
from trainer.data.template import Span, answer_spans, render, special_ids


@dataclass(frozen=True)
class Encoded:
    """The tokens of a text, and which of them stand in each span."""

    text: str
    input_ids: list[int]
    places: list[range]
    offsets: list[tuple[int, int]] | None = None
    """Where each token stands in the text, if the tokenizer tells."""

    def bytes_of(self, indices: list[int], tokenizer: Any) -> int:
        """Return the UTF-8 size of the text of tokens; a character that is spread over several counts once."""
        if not indices:
            return 0
        if self.offsets is None:
            return len(_decode(tokenizer, [self.input_ids[index] for index in indices]).encode())
        size = reached = 0
        for start, end in (self.offsets[index] for index in indices):
            size += len(self.text[max(start, reached) : end].encode())
            reached = end
        return size


def tokenize(example: Example, tokenizer: Any, max_length: int) -> Tokens:
    """Return a conversation as tokens, cut after `max_length`; a text is cut into pieces instead, by texts.py.

    The assistant's turns bear loss, with the token that ends them. Raises InputError where the chat template refuses the
    conversation.
    """
    if example.messages is None:
        raise ValueError(f"{example.origin} is a text: it becomes pieces")
    text = render(example, example.messages, tokenizer)
    answers = answer_spans(example, text, tokenizer)
    encoded = _encode(text, answers, tokenizer) if tokenizer.is_fast else _encode_in_beginnings(example, text, answers, tokenizer)
    special = special_ids(tokenizer)
    mask = [False] * len(encoded.input_ids)
    size = 0
    for answer, place in zip(answers, encoded.places, strict=True):
        learnt = _with_its_end(place, answer, encoded.input_ids, special)
        for index in learnt:
            mask[index] = index > 0
        size += encoded.bytes_of([index for index in learnt if index < max_length and encoded.input_ids[index] not in special], tokenizer)
    return _cut(example, encoded.input_ids, mask, size, max_length)


def prompt_and_reference(example: Example, tokenizer: Any) -> tuple[list[int], str]:
    """Return the tokens that an answer is generated from, and the answer of the data, which is not among them."""
    if example.messages is None:
        raise ValueError(f"{example.origin} is a text: it has no prompt")
    text = render(example, example.messages[:-1], tokenizer, generation_prompt=True)
    return _ids(tokenizer, text), example.messages[-1].content.strip()


def _encode(text: str, spans: list[Span], tokenizer: Any) -> Encoded:
    """Tokenize with a tokenizer that tells where each token stands.

    A token that begins in a heading and ends in the answer (a line break joined with the answer's leading spaces) would
    differ from what generation starts from: there the text is tokenized in two parts.
    """
    input_ids, offsets = _ids_and_offsets(text, 0, tokenizer)
    joined = [span.start for span in spans if any(start < span.start < end for start, end in offsets)]
    if joined:
        borders = [0, *joined, len(text)]
        parts = [_ids_and_offsets(text[start:end], start, tokenizer) for start, end in pairwise(borders)]
        input_ids, offsets = [token for ids, _ in parts for token in ids], [offset for _, places in parts for offset in places]
    places = []
    for span in spans:
        inside = [index for index, (start, end) in enumerate(offsets) if span.start <= start < end <= span.end]
        places.append(range(inside[0], inside[-1] + 1) if inside else range(0))
    return Encoded(text, input_ids, places, offsets)


def _encode_in_beginnings(example: Example, text: str, spans: list[Span], tokenizer: Any) -> Encoded:
    """Tokenize with a tokenizer that does not tell where tokens stand: each beginning of the text must be one of its tokens."""
    input_ids = _ids(tokenizer, text)

    def tokens_before(border: int) -> int | None:
        beginning = _ids(tokenizer, text[:border])
        return len(beginning) if input_ids[: len(beginning)] == beginning else None

    places = []
    for span in spans:
        start = tokens_before(span.start)
        # The end may lie inside the next heading's first token, which is not the answer's: go back to the token's beginning.
        ends = (tokens_before(border) for border in range(span.end, span.start, -1))
        end = next((end for end in ends if end is not None), None)
        if start is None or end is None:
            fix = "use a model with a fast tokenizer (tokenizer.json)"
            raise InputError(example.origin, "this tokenizer joins an answer's first or last word with the words around it", fix)
        places.append(range(start, end))
    return Encoded(text, input_ids, places)


def _with_its_end(place: range, span: Span, input_ids: list[int], special: frozenset[int]) -> list[int]:
    """Return the answer's tokens through the token that ends the turn, without what a template writes after it.

    A line break after the end of a turn is not learnt: generation stops before it.
    """
    indices = list(place)
    if span.ends_before_token and indices and place.stop < len(input_ids) and input_ids[place.stop] in special:
        indices.append(place.stop)
    ends = [number for number, index in enumerate(indices) if input_ids[index] in special]
    return indices[: ends[-1] + 1] if ends else indices


def _cut(example: Example, input_ids: list[int], mask: list[bool], loss_bytes: int, max_length: int) -> Tokens:
    truncated = len(input_ids) > max_length
    return Tokens(example.id, input_ids[:max_length], mask[:max_length], loss_bytes, truncated)


def _ids_and_offsets(text: str, shift: int, tokenizer: Any) -> tuple[list[int], list[tuple[int, int]]]:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return list(encoded["input_ids"]), [(start + shift, end + shift) for start, end in encoded["offset_mapping"]]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return [int(token) for token in tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]]


def _decode(tokenizer: Any, input_ids: list[int]) -> str:
    return str(tokenizer.decode(input_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
