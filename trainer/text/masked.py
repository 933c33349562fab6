"""Cuts texts into pieces of at most `maxSequenceLength` tokens, each between the tokenizer's special tokens, with some hidden.

Every token of a text is in exactly one piece. Tests: tests/trainer/text/test_masked.py, tests/trainer/tasks/test_conformance.py.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from trainer.data.masking import Masking, masking_of, text_of
from trainer.data.rows import Piece, PieceCount, Sample
from trainer.data.rowstore import sizes_of
from trainer.data.sampler import random_for
from trainer.text.batches import in_batches
from trainer.text.encoding import around, decode, encode_texts
from trainer.text.example import TextExample


def hiding(tokenizer: Any) -> Masking:
    """Return how tokens are hidden from a model with this tokenizer."""
    return masking_of(tokenizer, *around(tokenizer))


def around_masks(text: str, tokenizer: Any) -> list[str]:
    """Return the parts of a text around its masks, without the spaces that belong to a mask, as RoBERTa's mask has the one before it."""
    token = tokenizer.added_tokens_decoder[tokenizer.mask_token_id]
    first, *others = text.split(tokenizer.mask_token)
    parts = [first, *(part.lstrip() if token.rstrip else part for part in others)]
    return [*(part.rstrip() if token.lstrip else part for part in parts[:-1]), parts[-1]]


def masked_pieces(examples: Iterable[TextExample], tokenizer: Any, max_length: int) -> Iterator[list[Piece[TextExample]]]:
    """Yield the pieces of each text; texts are tokenized in batches. What is hidden depends on the piece alone."""
    masking = hiding(tokenizer)
    room = max_length - len(masking.before) - len(masking.after)
    for batch in in_batches(examples, lambda example: len(example.text)):
        found = encode_texts([example.text for example in batch], tokenizer, special=False, offsets_from=room + 1)
        for example, encoded in zip(batch, found, strict=True):
            ids = encoded.input_ids
            starts = range(0, max(1, len(ids)), room)
            pieces = []
            for number, start in enumerate(starts):
                name, part = example.id if len(starts) == 1 else f"{example.id}/{number}", ids[start : start + room]
                first, last = number == 0, number == len(starts) - 1
                begin = 0 if first or not encoded.offsets else encoded.offsets[start][0]
                end = len(encoded.text) if last else encoded.offsets[start + room][0] if encoded.offsets else None
                whole = len(starts) == 1 or not encoded.offsets
                pieces.append(Piece(example, _fixed(masking, name, part), first, last, begin, None if whole else end))
            yield pieces


def masked_part(piece: Piece[TextExample], tokenizer: Any) -> TextExample:
    """Return the words of a piece as a separate example."""
    if piece.whole:
        return piece.example
    words = piece.example.text[piece.start : piece.end] if piece.end is not None else decode(tokenizer, text_of(piece.tokens)[0])
    return replace(piece.example, id=piece.tokens.id, text=words)


def varied_masked(piece: Piece[TextExample], words: str, tokenizer: Any, max_length: int) -> Sample:
    """Return the sample of a piece with other words; one that becomes longer than `max_length` is truncated."""
    masking = hiding(tokenizer)
    (encoded,) = encode_texts([words], tokenizer, special=False)
    room = max_length - len(masking.before) - len(masking.after)
    return _fixed(masking, piece.tokens.id, encoded.input_ids[:room], truncated=len(encoded.input_ids) > room)


def count_masked(examples: Sequence[TextExample], tokenizer: Any, max_length: int) -> PieceCount:
    """Count the pieces of texts; only those that may need several are tokenized."""
    sizes = sizes_of(examples)[:, 1]
    room = max_length - sum(map(len, around(tokenizer)))
    long = [examples[row] for row, size in enumerate(sizes.tolist()) if size > room]  # a token is at least one byte
    pieces = sum(len(found) for found in masked_pieces(long, tokenizer, max_length))
    return PieceCount(len(examples) - len(long) + pieces)


def _fixed(masking: Masking, name: str, ids: Sequence[int], *, truncated: bool = False) -> Sample:
    return masking.hide(name, ids, random_for("mask", name), truncated=truncated)
