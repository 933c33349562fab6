"""Cuts texts into pieces of at most `maxSequenceLength` tokens, so that all of a long text is learned and measured.

The whole text is tokenized once and a piece is a slice of its tokens. It begins with the last token of the previous piece, as
context without loss, so every token of a text except the first has loss exactly once. The positions of the cuts change the
losses only through the context. Tests: tests/trainer/text/test_pieces.py.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.rows import Piece, PieceCount, Sample
from trainer.data.rowstore import sizes_of
from trainer.text.batches import in_batches
from trainer.text.encoding import Encoded, decode, decode_all, encode_text, encode_texts
from trainer.text.example import TextExample

COUNTED_CHARACTERS = 5_000_000
"""Characters of long texts that are tokenized to count pieces, which takes a few seconds; the rest is estimated from them."""
CONTEXT_TOKENS = 8
"""A character is split over 4 tokens at most; decoding may also drop a space before the first token."""
SPECIAL_TOKENS = 2
"""A tokenizer may add a token before a text and one after it."""


def pieces_of(example: TextExample, tokenizer: Any, max_length: int) -> list[Piece[TextExample]]:
    """Return the pieces of a text, each of at most `max_length` tokens."""
    (pieces,) = pieces_of_all([example], tokenizer, max_length)
    return pieces


def pieces_of_all(examples: Iterable[TextExample], tokenizer: Any, max_length: int) -> Iterator[list[Piece[TextExample]]]:
    """Yield the pieces of each text; texts are tokenized in batches."""
    for batch in in_batches(examples, lambda example: len(example.text)):
        texts = [example.text for example in batch]
        # With the end token, this many no longer fit.
        end = tokenizer.eos_token_id
        found = [_with_end(encoded, end) for encoded in encode_texts(texts, tokenizer, offsets_from=max_length)]
        sizes = _learned_bytes(texts, [input_ids for input_ids, _ in found], tokenizer)
        for example, (input_ids, ends), size in zip(batch, found, sizes, strict=True):
            yield _cut(example, input_ids, ends, size, tokenizer, max_length)


def _cut(
    example: TextExample, input_ids: list[int], ends: list[int] | None, size: int, tokenizer: Any, max_length: int
) -> list[Piece[TextExample]]:
    """Cut the tokens of a text; `ends` is needed only if they are too many, `size` is that of its tokens with loss."""
    text = example.text
    if len(input_ids) <= max_length:
        return [Piece(example, _tokens(example.id, input_ids, size))]
    # Each piece but the first holds a token of the one before.
    starts = range(0, len(input_ids) - 1, max_length - 1)
    pieces: list[Piece[TextExample]] = []
    counted = total = 0
    for number, start in enumerate(starts):
        stop, last = min(start + max_length, len(input_ids)), number == len(starts) - 1
        # The first token of a piece is context.
        total += 0 if last else _bytes_between(text, input_ids, ends, start + 1, stop, tokenizer)
        through = size if last else min(size, total)
        tokens = _tokens(f"{example.id}/{number}", input_ids[start:stop], max(0, through - counted))
        begin = 0 if number == 0 else ends[start] if ends else 0
        end = len(text) if last else ends[stop - 1] if ends else None
        pieces.append(Piece(example, tokens, number == 0, last, begin, end if ends else None))
        counted = max(counted, through)
    return pieces


def count_pieces(examples: Sequence[TextExample], tokenizer: Any, max_length: int, most_characters: int = COUNTED_CHARACTERS) -> PieceCount:
    """Count the pieces of texts. Only texts that may need several are tokenized, up to `most_characters`."""
    sizes = sizes_of(examples)
    # A token is at least one byte.
    long = np.flatnonzero(sizes[:, 1] + SPECIAL_TOKENS > max_length)
    characters = sizes[long, 0]
    tokenized = np.cumsum(characters) - characters < most_characters
    texts = (examples[row].text for row in long[tokenized].tolist())
    lengths = np.array([len(row) for batch in in_batches(texts, len) for row in _whole_texts(batch, tokenizer)], np.int64)
    rest = characters[~tokenized]
    estimate = np.rint(rest * int(lengths.sum()) / max(1, int(characters[tokenized].sum()))).astype(np.int64)
    pieces = _pieces_in(lengths, max_length).sum() + _pieces_in(estimate, max_length).sum()
    return PieceCount(len(sizes) - len(long) + int(pieces), estimated=len(rest) > 0)


def _pieces_in(lengths: NDArray[np.int64], max_length: int) -> NDArray[np.int64]:
    return np.maximum(1, -(-(lengths - 1) // (max_length - 1)))


def _whole_texts(texts: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """Return the tokens of texts, each with its end token."""
    end = tokenizer.eos_token_id
    return [_with_end(encoded, end)[0] for encoded in encode_texts(texts, tokenizer, offsets_from=sys.maxsize)]


def _with_end(encoded: Encoded, end: int | None) -> tuple[list[int], list[int] | None]:
    """Return the tokens of a text with its end token, and if known the end of each, in characters and never decreasing."""
    input_ids = encoded.input_ids
    ends = None if encoded.offsets is None else list(_reached(place for _, place in encoded.offsets))
    if end is not None and input_ids[-1:] != [end]:
        input_ids.append(end)
        if ends is not None:
            ends.append(len(encoded.text))
    return input_ids, ends


def _reached(ends: Iterable[int]) -> Iterator[int]:
    # Special tokens have the offsets (0, 0).
    reached = 0
    for end in ends:
        reached = max(reached, end)
        yield reached


def _learned_bytes(texts: Sequence[str], rows: Sequence[list[int]], tokenizer: Any) -> list[int]:
    """Return the size of each text, in bytes, without its first token if that is text, because it has no loss."""
    first = [getattr(tokenizer, "bos_token_id", None)]
    decoded = iter(decode_all(tokenizer, [row[1:] for row in rows if row[:1] != first]))
    return [len((text if row[:1] == first else next(decoded)).encode()) for text, row in zip(texts, rows, strict=True)]


def _bytes_between(text: str, input_ids: Sequence[int], ends: list[int] | None, start: int, stop: int, tokenizer: Any) -> int:
    """Return the size of the text of tokens `start` to `stop`, in bytes; sizes of consecutive ranges add up.

    `start` is at least 1. Without offsets some tokens before it are decoded too, because a character may be split there.
    """
    if ends is not None:
        return len(text[ends[start - 1] : ends[stop - 1]].encode())
    before = max(1, start - CONTEXT_TOKENS)
    sizes = [len(decode(tokenizer, input_ids[before:place]).encode()) for place in (start, stop)]
    return sizes[1] - sizes[0]


def part_of(piece: Piece[TextExample], tokenizer: Any) -> TextExample:
    """Return the words of a piece as a separate example."""
    if piece.whole:
        return piece.example
    if piece.end is not None:
        words = piece.example.text[piece.start : piece.end]
    else:
        # A character split by a cut is decoded as U+FFFD.
        ids = piece.tokens.input_ids
        words = decode(tokenizer, ids if piece.first else ids[1:]).strip("\ufffd")
    return replace(piece.example, id=piece.tokens.id, text=words)


def varied_piece(piece: Piece[TextExample], words: str, tokenizer: Any, max_length: int) -> Sample:
    """Return the sample of a piece with other words; one that becomes longer than `max_length` is truncated."""
    if piece.whole:
        (input_ids,) = _whole_texts([words], tokenizer)
    else:
        context = [] if piece.first else [piece.tokens.input_ids[0]]
        input_ids = context + encode_text(words, tokenizer, special=piece.first).input_ids
        end = tokenizer.eos_token_id
        if piece.first and end is not None and input_ids[-1:] == [end]:
            input_ids.pop()
        if piece.last and end is not None:
            input_ids.append(end)
    return _tokens(piece.tokens.id, input_ids[:max_length], len(words.encode()))


def _tokens(name: str, input_ids: Sequence[int], loss_bytes: int) -> Sample:
    mask = b"\1" * len(input_ids)
    return Sample(name, input_ids, b"\0" + mask[1:] if mask else mask, loss_bytes, truncated=False, tail=0)
