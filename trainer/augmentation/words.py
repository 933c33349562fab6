"""Augmentation of a single text: synonyms, dropout, swaps, typos. Each operation marks the words that it changed.

A text is a list of pieces, words and the characters between them, so that punctuation and spacing survive. Tests:
tests/trainer/augmentation/test_augmenter.py.
"""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass

from trainer.augmentation.synonyms import Synonyms
from trainer.text.words import WORD


@dataclass
class Piece:
    """A word, or the characters between two words."""

    text: str
    is_word: bool
    changed: bool = False
    dropped: bool = False


Operation = Callable[[list[Piece], random.Random], None]


def cut(text: str) -> list[Piece]:
    """Split a text into pieces; `join` restores it."""
    pieces: list[Piece] = []
    end = 0
    for match in WORD.finditer(text):
        if match.start() > end:
            pieces.append(Piece(text[end : match.start()], is_word=False))
        pieces.append(Piece(match.group(), is_word=True))
        end = match.end()
    if end < len(text):
        pieces.append(Piece(text[end:], is_word=False))
    return pieces


def join(pieces: list[Piece]) -> str:
    """Return the text of the remaining pieces; the spaces before a dropped word are dropped with it."""
    text = ""
    first_was_dropped = False
    for piece in pieces:
        if piece.dropped:
            text = text.rstrip(" ")
            first_was_dropped = first_was_dropped or not text
        else:
            text += piece.text.lstrip(" ") if first_was_dropped and not text else piece.text
    return text


def replace_by_synonyms(table: Synonyms, probability: float) -> Operation:
    """Return the operation that replaces each word in the table with `probability`, keeping its capitalization."""

    def operate(pieces: list[Piece], rng: random.Random) -> None:
        before = ""
        for piece in _words(pieces):
            word = piece.text.lower()
            options = table.get(word, ())
            if options and rng.random() < probability:
                # "an answer" must not become "an reply".
                fitting = [option for option in options if before not in ("a", "an") or _vowel(option) == _vowel(word)]
                if fitting:
                    _change(piece, _with_capitals_of(piece.text, rng.choice(fitting)))
            before = word

    return operate


def drop_words(probability: float) -> Operation:
    """Return the operation that drops each word with `probability`; at least one word stays."""

    def operate(pieces: list[Piece], rng: random.Random) -> None:
        words = _words(pieces)
        chosen = [piece for piece in words if rng.random() < probability]
        if chosen and len(chosen) == len(words):
            chosen.pop(rng.randrange(len(chosen)))
        for piece in chosen:
            piece.dropped = True

    return operate


def swap_words(probability: float) -> Operation:
    """Return the operation that swaps each word with the one after it with `probability`; no word moves twice."""

    def operate(pieces: list[Piece], rng: random.Random) -> None:
        words = _words(pieces)
        index = 0
        while index + 1 < len(words):
            if rng.random() < probability:
                first, second = words[index], words[index + 1]
                texts = second.text, first.text
                if index == 0 and first.text.istitle() and second.text.islower():
                    texts = second.text.capitalize(), first.text if first.text == "I" else first.text.lower()
                _change(first, texts[0])
                _change(second, texts[1])
                index += 1
            index += 1

    return operate


def make_typing_errors(probability: float) -> Operation:
    """Return the operation that makes a typo at each letter with `probability`: insert, delete, replace or swap. Digits stay."""

    def operate(pieces: list[Piece], rng: random.Random) -> None:
        for piece in _words(pieces):
            text = _with_typing_errors(piece.text, probability, rng)
            if text:
                _change(piece, text)

    return operate


def _with_typing_errors(word: str, probability: float, rng: random.Random) -> str:
    letters = list(word)
    result: list[str] = []
    index = 0
    while index < len(letters):
        letter = letters[index]
        if not letter.isalpha() or rng.random() >= probability:
            result.append(letter)
            index += 1
            continue
        kind = rng.choice(("insert", "delete", "replace", "swap"))
        # Letters of other scripts than Latin are replaced by a letter of the same word.
        other = rng.choice(string.ascii_lowercase if letter.isascii() else word)
        other = other.upper() if letter.isupper() else other
        if kind == "swap" and index + 1 < len(letters) and letters[index + 1].isalpha():
            result += [letters[index + 1], letter]
            index += 1
        elif kind == "insert":
            result += [letter, other]
        elif kind != "delete":
            result.append(other)
        index += 1
    return "".join(result)


def _words(pieces: list[Piece]) -> list[Piece]:
    return [piece for piece in pieces if piece.is_word and not piece.dropped]


def _change(piece: Piece, text: str) -> None:
    piece.changed = piece.changed or text != piece.text
    piece.text = text


def _with_capitals_of(model: str, word: str) -> str:
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if model[:1].isupper() else word


def _vowel(word: str) -> bool:
    return word[:1].lower() in "aeiou"
