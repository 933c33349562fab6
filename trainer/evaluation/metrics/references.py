"""The script of a test set's references: it decides what a word is, and so which metrics are defined.

Only the references count, so that base and tuned model are treated alike and users know before training.
Test: tests/trainer/evaluation/metrics/test_references.py.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

BLEU_ORDER = 4
"""BLEU is the geometric mean of the precisions of 1- to 4-grams, and undefined for texts without 4-grams."""
SPACED, CHINESE, CHARACTERS = "13a", "zh", "char"
"""sacrebleu's tokenizations: words between spaces, single Chinese characters and words between them, every character."""
MANY_KANA = 0.1
"""Share of kana above which a text is Japanese; Chinese has at most a borrowed one."""
HAN = frozenset({"CJK", "BOPOMOFO"})
WITHOUT_SPACES = frozenset({
    "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HALFWIDTH", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "TAI", "NEW", "JAVANESE",
    "BALINESE", "YI",
})  # fmt: skip
"""First words of the Unicode names of letters in scripts without spaces between words; NEW is New Tai Lue."""


@dataclass(frozen=True)
class Writing:
    """How texts are written: the tokenization for most of them, and the number of `rows` with letters that use no spaces."""

    tokenization: str
    unspaced: int
    rows: int

    @property
    def has_words(self) -> bool:
        """Whether spaces separate words in most texts."""
        return self.tokenization == SPACED

    @property
    def mixed(self) -> bool:
        """Whether some texts use spaces between words and others do not."""
        return 0 < self.unspaced < self.rows


def writing_of(texts: Sequence[str]) -> Writing:
    """Return how most texts are written; texts without letters do not count."""
    counted = [_letters(text) for text in texts]
    unspaced = [(han, other) for han, other, words in counted if han + other > words]
    rows = sum(any(counts) for counts in counted)
    if 2 * len(unspaced) <= rows:
        return Writing(SPACED, len(unspaced), rows)
    han, other = (sum(counts) for counts in zip(*unspaced, strict=True))
    return Writing(CHARACTERS if other > MANY_KANA * (han + other) else CHINESE, len(unspaced), rows)


def long_enough(texts: Iterable[str], tokenization: str) -> int:
    """Return the number of texts with at least `BLEU_ORDER` tokens."""
    from sacrebleu.metrics import BLEU

    tokenize = BLEU(tokenize=tokenization).tokenizer
    return sum(len(tokenize(text.rstrip()).split()) >= BLEU_ORDER for text in texts)


def _letters(text: str) -> tuple[int, int, int]:
    """Return the numbers of Chinese characters, of letters of other scripts without spaces, and of words of all other letters.

    A character of the first two counts like a word, so that English terms in a Chinese sentence do not outweigh it.
    """
    han = other = words = 0
    inside = False
    for character in text:
        name = _script(character)
        han += name in HAN
        other += name in WITHOUT_SPACES
        spaced = bool(name) and name not in HAN and name not in WITHOUT_SPACES
        words += spaced and not inside
        # Marks that are not letters, such as vowel signs, belong to the word around them.
        inside = spaced or (inside and not character.isspace() and not name)
    return han, other, words


@lru_cache(maxsize=2**14)
def _script(character: str) -> str:
    """Return the first word of a letter's Unicode name, such as LATIN or CJK; empty if it is not a letter."""
    return unicodedata.name(character, "").split(" ")[0] if character.isalpha() else ""
