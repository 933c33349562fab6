"""What augmentation does to a single text, each as a function of the pieces and a random generator.

Synonyms, insertion, dropout and swaps after Wei and Zou 2019 (arXiv:1901.11196), punctuation after Karimi et al. 2021
(arXiv:2108.13230). Tests: tests/trainer/augmentation/test_operations.py.
"""

import random

from finetune.api.augmentation import SwapKind
from trainer.augmentation.protection import negates
from trainer.augmentation.synonyms import Synonyms
from trainer.augmentation.words import Operation, Piece, droppable, free_words, gaps, insert_before, movable, words_of

MARKS = (".", ";", "?", ":", "!", ",")
"""Those that AEDA inserts."""


def replace_by_synonyms(table: Synonyms, probability: float) -> Operation:
    """Return the operation that replaces each word in the table with `probability`, keeping its capitalization."""

    def operate(pieces: list[Piece], rng: random.Random) -> int:
        before, count = "", 0
        for piece in words_of(pieces):
            word = piece.text.lower()
            options = () if piece.fixed else _options(table, word)
            if options and rng.random() < probability:
                # "an answer" must not become "an reply".
                fitting = [option for option in options if before not in ("a", "an") or _vowel(option) == _vowel(word)]
                if fitting:
                    count += _change(piece, _with_capitals_of(piece.text, rng.choice(fitting)))
            before = word
        return count

    return operate


def insert_synonyms(table: Synonyms, probability: float) -> Operation:
    """Return the operation that puts a synonym of each word in the table, with `probability`, before a random word."""

    def operate(pieces: list[Piece], rng: random.Random) -> int:
        places, inserted = gaps(pieces), 0
        for piece in free_words(pieces):
            options = _options(table, piece.text.lower())
            if options and places and rng.random() < probability:
                word, place = rng.choice(options), rng.choice(places)
                insert_before(pieces, place, Piece(word, is_word=True, inserted=True), Piece(" ", is_word=False, inserted=True))
                inserted += 1
        return inserted

    return operate


def drop_words(probability: float) -> Operation:
    """Return the operation that drops each word with `probability`; at least one word stays."""

    def operate(pieces: list[Piece], rng: random.Random) -> int:
        words = words_of(pieces)
        chosen = [piece for piece in droppable(words) if rng.random() < probability]
        if chosen and len(chosen) == len(words):
            chosen.pop(rng.randrange(len(chosen)))
        for piece in chosen:
            piece.dropped = True
        return len(chosen)

    return operate


def swap_words(probability: float, kind: SwapKind = SwapKind.NEIGHBORS) -> Operation:
    """Return the operation that swaps each word with `probability` with the one after it, or with any; no word moves twice."""
    return _swap_neighbors(probability) if kind is SwapKind.NEIGHBORS else _swap_any(probability)


def _swap_neighbors(probability: float) -> Operation:
    def operate(pieces: list[Piece], rng: random.Random) -> int:
        words, index, count = words_of(pieces), 0, 0
        free = movable(words)
        while index + 1 < len(words):
            if free[index] and free[index + 1] and rng.random() < probability:
                count += _swap(words[index], words[index + 1], begins=index == 0)
                index += 1
            index += 1
        return count

    return operate


def _swap_any(probability: float) -> Operation:
    def operate(pieces: list[Piece], rng: random.Random) -> int:
        words, count = words_of(pieces), 0
        left = [index for index, free in enumerate(movable(words)) if free]
        chosen = [index for index in left if rng.random() < probability]
        for index in chosen:
            if index not in left or len(left) == 1:
                continue
            left.remove(index)
            other = left.pop(rng.randrange(len(left)))
            first, second = sorted((index, other))
            count += _swap(words[first], words[second], begins=first == 0)
        return count

    return operate


def _swap(first: Piece, second: Piece, *, begins: bool) -> int:
    texts = second.text, first.text
    if begins and first.text.istitle() and second.text.islower():
        texts = second.text.capitalize(), first.text if first.text == "I" else first.text.lower()
    return _change(first, texts[0]) + _change(second, texts[1])


def insert_marks(probability: float) -> Operation:
    """Return the operation that puts a punctuation mark before each word with `probability`."""

    def operate(pieces: list[Piece], rng: random.Random) -> int:
        chosen = [place for place in gaps(pieces) if rng.random() < probability]
        for place in chosen:
            insert_before(pieces, place, Piece(f"{rng.choice(MARKS)} ", is_word=False, inserted=True))
        return len(chosen)

    return operate


def _options(table: Synonyms, word: str) -> tuple[str, ...]:
    """Return the synonyms of a word that negate nothing."""
    options = table.get(word, ())
    return tuple(option for option in options if not any(map(negates, option.split()))) if options else ()


def _change(piece: Piece, text: str) -> int:
    if text == piece.text:
        return 0
    piece.changed, piece.text = True, text
    return 1


def _with_capitals_of(model: str, word: str) -> str:
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if model[:1].isupper() else word


def _vowel(word: str) -> bool:
    return word[:1].lower() in "aeiou"
