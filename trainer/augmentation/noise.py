"""Wrong characters in words: any typing error, those of a keyboard's neighbors, and those of a scanner.

Tests: tests/trainer/augmentation/test_noise.py.
"""

import random
import string
from collections.abc import Callable

from finetune.api.augmentation import NoiseKind
from trainer.augmentation.protection import negates
from trainer.augmentation.words import Operation, Piece, free_words

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
"""Of a QWERTY keyboard; each row begins half a key further right."""
CONFUSED = {
    "rn": ("m",), "m": ("rn",), "cl": ("d",), "d": ("cl",), "vv": ("w",), "w": ("vv",), "nn": ("m",), "ri": ("n",), "li": ("h",),
    "O": ("0", "Q"), "o": ("0", "c"), "Q": ("O",), "l": ("1", "I"), "I": ("1", "l"), "i": ("1", "l"), "S": ("5",), "s": ("5",), "B": ("8",),
    "Z": ("2",), "z": ("2",), "G": ("6",), "g": ("9", "q"), "q": ("g", "9"), "b": ("6", "h"), "h": ("b",), "e": ("c",), "c": ("e",),
    "n": ("ri",), "u": ("v",), "v": ("u",), "a": ("o",), "t": ("f",), "f": ("t",), "D": ("O",), "E": ("F",), "F": ("E",),
}  # fmt: skip
"""What a scanner reads in place of characters."""


def _neighbors() -> dict[str, str]:
    places = {letter: (row, column + row / 2) for row, letters in enumerate(ROWS) for column, letter in enumerate(letters)}
    return {
        letter: "".join(other for other, (y, x) in places.items() if other != letter and abs(y - row) <= 1 and abs(x - column) <= 1)
        for letter, (row, column) in places.items()
    }


NEIGHBORS = _neighbors()
"""The letters around each on the keyboard: at most one row and one key away."""


def make_errors(probability: float, kind: NoiseKind = NoiseKind.RANDOM) -> Operation:
    """Return the operation that makes an error at each letter with `probability`. Digits stay, and no word comes to negate."""
    mistake = _MISTAKES[kind]

    def operate(pieces: list[Piece], rng: random.Random) -> int:
        count = 0
        for piece in free_words(pieces):
            text = mistake(piece.text, probability, rng)
            if text and text != piece.text and not negates(text):
                piece.text, piece.changed = text, True
                count += 1
        return count

    return operate


def _any_letter(letter: str, word: str, rng: random.Random) -> str:
    # Letters of other scripts than Latin are replaced by a letter of the same word.
    return rng.choice(string.ascii_lowercase if letter.isascii() else word)


def _letter_beside(letter: str, word: str, rng: random.Random) -> str:
    return rng.choice(NEIGHBORS.get(letter.lower(), word))


def _typed(draw: Callable[[str, str, random.Random], str]) -> Callable[[str, float, random.Random], str]:
    def mistype(word: str, probability: float, rng: random.Random) -> str:
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
            other = draw(letter, word, rng)
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

    return mistype


def _scan(word: str, probability: float, rng: random.Random) -> str:
    result, index = "", 0
    while index < len(word):
        length = 2 if word[index : index + 2] in CONFUSED else 1
        read = word[index : index + length]
        result += rng.choice(CONFUSED[read]) if read in CONFUSED and rng.random() < probability else read
        index += length
    return result


_MISTAKES = {NoiseKind.RANDOM: _typed(_any_letter), NoiseKind.KEYBOARD: _typed(_letter_beside), NoiseKind.OCR: _scan}
