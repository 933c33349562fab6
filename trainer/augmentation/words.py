"""A text as the pieces that augmentation works on: words, what is protected, and the characters between them.

So punctuation and spacing survive. Tests: tests/trainer/augmentation/test_augmenter.py, tests/trainer/augmentation/test_protection.py.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trainer.augmentation.protection import Protection, negates
from trainer.text.words import WORD


@dataclass
class Piece:
    """A word, something that is protected, or the characters between two of them."""

    text: str
    is_word: bool
    changed: bool = False
    dropped: bool = False
    inserted: bool = False
    fixed: bool = False
    """Must stay as it is, where it is."""
    negates: bool = False


Operation = Callable[[list[Piece], random.Random], int]
"""Changes pieces; returns how many words it changed, dropped or inserted."""
NOTHING_MORE = Protection()


def cut(text: str, protection: Protection = NOTHING_MORE) -> list[Piece]:
    """Split a text into pieces; `join` restores it."""
    pieces: list[Piece] = []
    end = 0
    for start, until in protection.spans(text):
        pieces += _plain(text[end:start])
        part = text[start:until]
        pieces.append(Piece(part, is_word=True, fixed=True, negates=any(map(negates, WORD.findall(part)))))
        end = until
    return [*pieces, *_plain(text[end:])]


def _plain(text: str) -> Iterator[Piece]:
    end = 0
    for match in WORD.finditer(text):
        if match.start() > end:
            yield Piece(text[end : match.start()], is_word=False)
        negation = negates(match.group())
        yield Piece(match.group(), is_word=True, fixed=negation, negates=negation)
        end = match.end()
    if end < len(text):
        yield Piece(text[end:], is_word=False)


def join(pieces: list[Piece]) -> str:
    """Return the text of the remaining pieces; the spaces before a dropped word are dropped with it."""
    parts: list[str] = []
    first_was_dropped = False
    for piece in pieces:
        if not piece.dropped:
            text = piece.text.lstrip(" ") if first_was_dropped and not parts else piece.text
            parts += [text] if text else []
            continue
        while parts:
            if rest := parts.pop().rstrip(" "):
                parts.append(rest)
                break
        first_was_dropped = first_was_dropped or not parts
    return "".join(parts)


def words_of(pieces: list[Piece]) -> list[Piece]:
    """Return the words that are left, and what is protected."""
    return [piece for piece in pieces if piece.is_word and not piece.dropped]


def free_words(pieces: list[Piece]) -> list[Piece]:
    """Return the words that are left and may be changed."""
    return [piece for piece in words_of(pieces) if not piece.fixed]


def movable(words: list[Piece]) -> list[bool]:
    """Return of each of these words whether it may change its place: not next to a negation, whose meaning hangs on its neighbors."""
    return [
        not (word.fixed or (index > 0 and words[index - 1].negates) or (index + 1 < len(words) and words[index + 1].negates))
        for index, word in enumerate(words)
    ]


def droppable(words: list[Piece]) -> list[Piece]:
    """Return the words that may be left out: not the one that is negated."""
    return [word for index, word in enumerate(words) if not word.fixed and not (index > 0 and words[index - 1].negates)]


def gaps(pieces: list[Piece]) -> list[Piece]:
    """Return the words before which something may be inserted: after a space or at the beginning, and beside no negation."""
    found: list[Piece] = []
    before: Piece | None = None
    between = ""
    for piece in pieces:
        if piece.dropped:
            continue
        if not piece.is_word:
            between += piece.text
            continue
        apart = bool(between) or before is None
        if apart and not between.strip() and not piece.negates and not (before is not None and before.negates):
            found.append(piece)
        before, between = piece, ""
    return found


def insert_before(pieces: list[Piece], place: Piece, *inserted: Piece) -> None:
    """Insert pieces before another one, which is in the list."""
    index = next(index for index, piece in enumerate(pieces) if piece is place)
    pieces[index:index] = inserted
