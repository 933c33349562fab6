"""Turns text into tokens with their positions; control-token names in the user's text are encoded as text.

Tests: tests/trainer/text/test_encoding.py.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from typing import Any

from trainer.text.controls import in_text, special_ids

Offset = tuple[int, int]


@dataclass
class Encoded:
    """The tokens of a text and their offsets, in characters; None if the tokenizer gives no offsets."""

    text: str
    input_ids: list[int] = field(default_factory=list)
    offsets: list[Offset] | None = None

    def append(self, token: int) -> None:
        """Append a token id that is not part of the text; its offsets are the empty range at the end."""
        self.input_ids.append(token)
        if self.offsets is not None:
            self.offsets.append((len(self.text), len(self.text)))

    def words(self, place: range, tokenizer: Any) -> str:
        """Return the text of consecutive tokens except special ones; a character that several tokens share appears once.

        Unknown-word tokens count as text.
        """
        if self.offsets is None or not place:
            return decode(tokenizer, self.input_ids[place.start : place.stop])
        special = special_ids(tokenizer) - {tokenizer.unk_token_id}
        # Take the text from the end of the previous token: some tokenizers leave the space before a word out of its offsets.
        reached = min(self.offsets[place.start][0], self.offsets[place.start - 1][1]) if place.start else 0
        parts, start = [], place.start
        for index in [index for index in place if self.input_ids[index] in special] + [place.stop]:
            end = max((end for _, end in self.offsets[start:index]), default=reached)
            parts.append(self.text[reached:end])
            following = self.offsets[index][1] if index < place.stop else 0
            reached, start = max(reached, end, following), index + 1
        return "".join(parts)


def encode(text: str, tokenizer: Any, literals: Sequence[Offset] = (), borders: Sequence[int] = ()) -> Encoded:
    """Tokenize a text in one piece, without special tokens of its own.

    `literals` are parts that look like control tokens but are encoded as text: the text is cut around them. It is also cut at
    those `borders` that would otherwise fall inside a token.
    """
    (encoded,) = encode_each([(text, literals, borders)], tokenizer)
    return encoded


def encode_each(texts: Sequence[tuple[str, Sequence[Offset], Sequence[int]]], tokenizer: Any) -> list[Encoded]:
    """Tokenize texts as `encode` does, each given with its literals and borders, on all cores."""
    if not tokenizer.is_fast:
        return [Encoded(text, _ids_with_literals(text, tokenizer, literals)) for text, literals, _ in texts]
    uncut = iter(_plain_texts([text for text, literals, _ in texts if not literals], tokenizer, special=False))
    found = []
    for text, literals, borders in texts:
        cuts = {place for literal in literals for place in literal}
        encoded = _in_parts(text, tokenizer, literals, cuts) if literals else next(uncut)
        joined = {border for border in borders if tokens_before(border, encoded, tokenizer) is None}
        found.append(_in_parts(text, tokenizer, literals, cuts | joined) if joined else encoded)
    return found


def encode_text(text: str, tokenizer: Any, *, special: bool = True) -> Encoded:
    """Tokenize plain text; the only special tokens are those that the tokenizer adds around it (with offsets (0, 0))."""
    (encoded,) = encode_texts([text], tokenizer, special=special)
    return encoded


def encode_texts(texts: Sequence[str], tokenizer: Any, *, special: bool = True, offsets_from: int = 0) -> list[Encoded]:
    """Tokenize plain texts as `encode_text` does, on all cores.

    Texts of fewer than `offsets_from` tokens get no offsets: making them takes longer than making the tokens.
    """
    names = [[found.span() for found in in_text(tokenizer).finditer(text)] for text in texts]
    plain = iter(_plain_texts([text for text, found in zip(texts, names, strict=True) if not found], tokenizer, special, offsets_from))
    return [_around_words(text, tokenizer, found, special) if found else next(plain) for text, found in zip(texts, names, strict=True)]


def _plain_texts(texts: list[str], tokenizer: Any, special: bool, offsets_from: int = 0) -> list[Encoded]:
    """Tokenize texts without names of control tokens."""
    if not tokenizer.is_fast:
        return [
            Encoded(text, [int(token) for token in tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]])
            for text in texts
        ]
    if not texts:
        return []
    found = tokenizer(texts, add_special_tokens=special, return_attention_mask=False, return_token_type_ids=False, verbose=False)
    return [
        Encoded(text, ids, encoding.offsets if len(ids) >= offsets_from else None)
        for text, ids, encoding in zip(texts, found["input_ids"], found.encodings, strict=True)
    ]


def _around_words(text: str, tokenizer: Any, names: Sequence[Offset], special: bool) -> Encoded:
    """Tokenize a text with the names of control tokens as words, between the special tokens that the tokenizer adds."""
    encoded = encode(text, tokenizer, names)
    before, after = around(tokenizer) if special else ([], [])
    nowhere = [(0, 0)]
    offsets = None if encoded.offsets is None else [*nowhere * len(before), *encoded.offsets, *nowhere * len(after)]
    return Encoded(text, [*before, *encoded.input_ids, *after], offsets)


def encode_prompt(text: str, tokenizer: Any) -> list[int]:
    """Return the tokens of a text that is to be continued, after those that the tokenizer puts before one; none after it."""
    return [*around(tokenizer)[0], *encode_text(text, tokenizer, special=False).input_ids]


def encode_after(text: str, tokenizer: Any) -> Encoded:
    """Tokenize a text that continues another one; control-token names in it are text."""
    names = [found.span() for found in in_text(tokenizer).finditer(text)]
    if not tokenizer.is_fast:
        cuts = sorted({0, *(place for name in names for place in name), len(text)})
        parts = [(start, end) for start, end in pairwise(cuts)]
        ids = (plain_ids(tokenizer, text[a:b]) if (a, b) in names else _ids(tokenizer, text[a:b], follows=True) for a, b in parts)
        return Encoded(text, [token for part in ids for token in part])
    newline = "\n"
    shifted = [(start + 1, end + 1) for start, end in names]
    joined = _in_parts(newline + text, tokenizer, shifted, {1, *(place for name in shifted for place in name)})
    before = sum(end <= 1 for _, end in joined.offsets or ())
    places = [(start - 1, end - 1) for start, end in (joined.offsets or ())[before:]]
    return Encoded(text, joined.input_ids[before:], places)


def tokens_before(border: int, encoded: Encoded, tokenizer: Any, literals: Sequence[Offset] = ()) -> int | None:
    """Return the number of tokens before a border; None if the border is inside a token.

    Without offsets, the tokens of the text before the border must be the first tokens of the whole text.
    """
    if encoded.offsets is not None:
        index = bisect_left(encoded.offsets, border, key=itemgetter(0))
        return None if index > 0 and encoded.offsets[index - 1][1] > border else index
    beginning = _ids_with_literals(encoded.text[:border], tokenizer, [literal for literal in literals if literal[1] <= border])
    return len(beginning) if encoded.input_ids[: len(beginning)] == beginning else None


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the ids that encode a control token's name as text, never as the control token."""
    return list(_plain_ids(tokenizer, text))


@lru_cache(maxsize=10_000)
def _plain_ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    whole = _without_added(tokenizer, text)
    if not special_ids(tokenizer).intersection(whole):
        return tuple(whole)
    # The vocabulary itself contains the name, as in SentencePiece models.
    return tuple(token for letter in text for token in _without_added(tokenizer, letter))


@lru_cache(maxsize=8)
def _newline(tokenizer: Any) -> list[int]:
    """Return the tokens of a line break."""
    return _ids(tokenizer, "\n", follows=False)


def _without_added(tokenizer: Any, text: str) -> list[int]:
    # After a line break, for the reason given in _part.
    newline = _newline(tokenizer)
    ids = [int(token) for token in tokenizer._encode_without_added_tokens(f"\n{text}")]
    if ids[: len(newline)] == newline:
        return ids[len(newline) :]
    return [int(token) for token in tokenizer._encode_without_added_tokens(text)]


def decode(tokenizer: Any, input_ids: Sequence[int]) -> str:
    """Return the text of tokens, without special ones."""
    return str(tokenizer.decode(list(input_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def decode_all(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    """Return the text of each row of tokens as `decode` does, on all cores."""
    if tokenizer.is_fast and not _decodes_differently(type(tokenizer)):
        return list(tokenizer.backend_tokenizer.decode_batch(rows, skip_special_tokens=True))
    return [decode(tokenizer, row) for row in rows]


def _decodes_differently(kind: type) -> bool:
    """Return whether a class of fast tokenizers has more to do than to call its backend, as those of CodeGen and CPM have."""
    from transformers import PreTrainedTokenizerFast as Usual

    return any(getattr(kind, name, None) is not getattr(Usual, name) for name in ("decode", "_decode"))


def around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the special tokens that a tokenizer puts before and after a text."""
    marks = special_ids(tokenizer) - {tokenizer.unk_token_id}  # a vocabulary may lack any word
    ids = [int(token) for token in tokenizer("a", verbose=False)["input_ids"]]
    own = [index for index, token in enumerate(ids) if token not in marks]
    return ids[: own[0]], ids[own[-1] + 1 :]


def _in_parts(text: str, tokenizer: Any, literals: Sequence[Offset], cuts: set[int]) -> Encoded:
    input_ids: list[int] = []
    offsets: list[Offset] = []
    as_text = set(literals)
    for start, end in pairwise(sorted({0, *cuts, len(text)})):
        part = text[start:end]
        ids, places = _plain_part(tokenizer, part) if (start, end) in as_text else _part(tokenizer, part, start > 0)
        input_ids += ids
        offsets += ((begin + start, stop + start) for begin, stop in places)
    return Encoded(text, input_ids, offsets)


def _part(tokenizer: Any, text: str, follows: bool) -> tuple[list[int], list[Offset]]:
    """Tokenize a part. If another precedes it, a line break is put before it, so that SentencePiece adds no space there."""
    if follows:
        newline = _newline(tokenizer)
        ids, offsets = _ids_and_offsets(tokenizer, f"\n{text}")
        if ids[: len(newline)] == newline and all(end <= 1 for _, end in offsets[: len(newline)]):
            return ids[len(newline) :], [(start - 1, end - 1) for start, end in offsets[len(newline) :]]
    return _ids_and_offsets(tokenizer, text)


def _plain_part(tokenizer: Any, text: str) -> tuple[list[int], list[Offset]]:
    ids = plain_ids(tokenizer, text)
    if not ids:
        return [], []
    places = [len(text) * index // len(ids) for index in range(len(ids) + 1)]
    return ids, list(pairwise(places))


def _ids_and_offsets(tokenizer: Any, text: str) -> tuple[list[int], list[Offset]]:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return list(encoded["input_ids"]), list(encoded["offset_mapping"])


def _ids_with_literals(text: str, tokenizer: Any, literals: Sequence[Offset]) -> list[int]:
    ids: list[int] = []
    as_text = set(literals)
    for start, end in pairwise(sorted({0, *(place for literal in literals for place in literal), len(text)})):
        part = text[start:end]
        ids += plain_ids(tokenizer, part) if (start, end) in as_text else _ids(tokenizer, part, start > 0)
    return ids


def _ids(tokenizer: Any, text: str, follows: bool) -> list[int]:
    """Tokenize a part as _part does, with a tokenizer that gives no offsets."""
    if follows:
        newline = _newline(tokenizer)
        ids = _ids(tokenizer, f"\n{text}", follows=False)
        if ids[: len(newline)] == newline:
            return ids[len(newline) :]
    return [int(token) for token in tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]]


def cut_source(input_ids: Sequence[int], most: int, tokenizer: Any) -> list[int]:
    """Return a text with its special tokens, cut to `most` tokens: words at its end are left out, the special tokens there are kept."""
    ids, special = list(input_ids), special_ids(tokenizer)
    if len(ids) <= most:
        return ids
    after = next((place for place, token in enumerate(reversed(ids)) if token not in special), len(ids))
    return [*ids[: most - after], *ids[len(ids) - after :]] if after < most else ids[:most]


def sequence_ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end a sequence, by the model's generation settings and by the tokenizer.

    An encoder-decoder whose tokenizer is an encoder's, without such a token, ends its answers with the separator.
    """
    ends: set[int] = set()
    for value in (getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id):
        ends.update(value if isinstance(value, list | tuple) else [] if value is None else [value])
    if not ends and model.config.is_encoder_decoder and tokenizer.sep_token_id is not None:
        ends.add(tokenizer.sep_token_id)
    return frozenset(int(end) for end in ends)
