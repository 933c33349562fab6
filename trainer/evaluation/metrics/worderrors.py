"""Word and character error rate, computed by jiwer, which is imported on first use.

Test: tests/trainer/evaluation/metrics/test_worderrors.py.
"""

import importlib.metadata
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from finetune.api.evaluation import TextNormalization
from finetune.api.metrics import METRICS as FACTS
from finetune.api.metrics import MetricName
from trainer.evaluation.metrics.base import Statistics, ratio
from trainer.evaluation.metrics.corpus import References, TextMetric, flat, without_words
from trainer.evaluation.metrics.evidence import Answers, Floats

SIGNATURES = {TextNormalization.BASIC: "case:lower|punct:removed", TextNormalization.NONE: "case:mixed|punct:kept"}
Counts = tuple[int, int, int, int]
"""Substitutions, insertions, deletions, and the length of the reference."""


class ErrorRate(TextMetric):
    """Errors in the corpus divided by the length of the references; 0 is perfect, values above 1 are possible.

    White space counts only as what separates words. Of several references of a row, the one with the smallest rate counts.
    """

    unit_name = ""

    def statistics(self, evidence: Answers) -> Statistics:
        """Return substitutions, insertions, deletions and length of the reference of each row."""
        how = evidence.normalization
        rows = [
            min((self._counts(normalized(text, how), normalized(row.answer, how)) for text in row.references), key=_rate)
            for row in evidence.predictions
        ]
        several = "|refs:best" if any(len(row.references) > 1 for row in evidence.predictions) else ""
        version = importlib.metadata.version("jiwer")
        return Statistics(np.array(rows, np.float64), f"{SIGNATURES[how]}|tok:{self.unit_name}{several}|level:corpus|jiwer:{version}")

    def value(self, sums: Floats) -> Floats:
        """Return errors per unit of the references."""
        return ratio(sums[..., :3].sum(axis=-1), sums[..., 3])

    def undefined(self, sums: Floats) -> str:
        """Say that there is nothing to divide by."""
        return "the references are empty"

    def details(self, sums: Floats, evidence: Answers) -> Mapping[str, Any]:
        """Return the numbers of errors of each kind."""
        names = ("substitutions", "insertions", "deletions", "referenceLength")
        return {name: int(count) for name, count in zip(names, sums, strict=True)}

    def _counts(self, reference: str, answer: str) -> Counts:
        if not reference:  # as jiwer has it, all of the answer is an insertion; its older versions raise ValueError
            return 0, self._length(answer), 0, 0
        found = self._compared(reference, answer)
        return found.substitutions, found.insertions, found.deletions, self._length(reference)

    @abstractmethod
    def _compared(self, reference: str, answer: str) -> Any:
        """Return jiwer's result for one pair."""

    @abstractmethod
    def _length(self, text: str) -> int:
        """Return how many units a text has."""


class WordErrorRate(ErrorRate):
    """Word errors per word of the references."""

    facts = FACTS[MetricName.WER]
    splits_words = True
    unit_name = "space"

    def unfit(self, references: References) -> str | None:
        """Undefined unless the references have words separated by spaces."""
        return without_words(references) or (None if _any_word(flat(references)) else "no reference has a word")

    def _compared(self, reference: str, answer: str) -> Any:
        import jiwer

        return jiwer.process_words(reference, answer)

    def _length(self, text: str) -> int:
        return len(text.split())


class CharacterErrorRate(ErrorRate):
    """Character errors per character of the references, spaces included; for scripts without spaces between words too."""

    facts = FACTS[MetricName.CER]
    unit_name = "char"

    def unfit(self, references: References) -> str | None:
        """Undefined if no reference has a letter or digit."""
        return None if _any_word(flat(references)) else "no reference has a word"

    def _compared(self, reference: str, answer: str) -> Any:
        import jiwer

        return jiwer.process_characters(reference, answer)

    def _length(self, text: str) -> int:
        return len(text)


def normalized(text: str, how: TextNormalization) -> str:
    """Return a text as it is compared; runs of white space are one space."""
    return " ".join(str(_basic()(text) if how is TextNormalization.BASIC else text).split())


@cache
def _basic() -> Any:
    import jiwer

    return jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip()])


def _rate(counts: Counts) -> tuple[float, int]:
    errors = sum(counts[:3])
    return errors / max(counts[3], 1), errors


def _any_word(texts: Sequence[str]) -> bool:
    return any(character.isalnum() for text in texts for character in text)


METRICS = (WordErrorRate(), CharacterErrorRate())
