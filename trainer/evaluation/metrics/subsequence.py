"""ROUGE-L: the longest common subsequence of the words of answer and reference.

As the package rouge-score computes it without stemming (F1, best over the references, mean over rows), with words of every script
instead of runs of a-z and 0-9. Pure. Test: tests/trainer/evaluation/metrics/test_subsequence.py.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from finetune.api.metrics import METRICS as FACTS
from finetune.api.metrics import MetricName
from trainer.evaluation.metrics.base import Statistics, ratio
from trainer.evaluation.metrics.corpus import References, TextMetric, flat, without_words
from trainer.evaluation.metrics.evidence import Answers, Floats

PARTS_OF_WORDS = "LMN"
"""First letters of the Unicode categories of letters, marks such as vowel signs, and numbers."""
JOINERS = dict.fromkeys(map(ord, "\u00ad\u200c\u200d"))
"""Soft hyphen, and what separates or joins the shapes of two letters: they are inside words, and not read."""


class RougeL(TextMetric):
    """Mean ROUGE-L F1, 0 to 100 (Lin 2004, W04-1013)."""

    facts = FACTS[MetricName.ROUGE_L]
    splits_words = True

    def unfit(self, references: References) -> str | None:
        """Undefined unless the references have words separated by spaces."""
        return without_words(references) or (None if any(map(words_of, flat(references))) else "no reference has a word")

    def statistics(self, evidence: Answers) -> Statistics:
        """Return F1 and 1 of each row."""
        scores = [max(rouge_l(words_of(text), words_of(row.answer)) for text in row.references) for row in evidence.predictions]
        return Statistics(
            np.stack([scores, np.ones(len(scores))], axis=1), "rougeL:f1|case:lower|tok:words|unicode:nfc|stem:no|refs:best|mean:rows"
        )

    def value(self, sums: Floats) -> Floats:
        """Return the mean."""
        return 100 * ratio(sums[..., 0], sums[..., 1])


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case; anything but letters, their marks and digits separates them."""
    text = unicodedata.normalize("NFC", text.lower()).translate(JOINERS)
    return "".join(character if _is_part_of_word(character) else " " for character in text).split()


@lru_cache(maxsize=2**14)
def _is_part_of_word(character: str) -> bool:
    return unicodedata.category(character)[0] in PARTS_OF_WORDS


def rouge_l(reference: Sequence[str], answer: Sequence[str]) -> float:
    """Return the harmonic mean of the shares that the longest common subsequence has of both."""
    return 2 * common_subsequence(reference, answer) / (len(reference) + len(answer)) if reference or answer else 0.0


def common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """Return the length of the longest common subsequence (Hyyrö 2004, bit-parallel: a bit of an integer is a place of `left`)."""
    places: dict[str, int] = {}
    for place, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << place
    whole = (1 << len(left)) - 1
    rest = whole
    for word in right:
        met = rest & places.get(word, 0)
        rest = ((rest + met) | (rest - met)) & whole
    return len(left) - rest.bit_count()


METRICS = (RougeL(),)
