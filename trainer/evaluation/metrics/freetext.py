"""What can be said of answers without a reference: how varied they are, how much they repeat, how many do not end.

Test: tests/trainer/evaluation/metrics/test_freetext.py.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from finetune.api.metrics import METRICS as FACTS
from finetune.api.metrics import MetricName
from trainer.evaluation.metrics.base import Statistics, ratio
from trainer.evaluation.metrics.corpus import TextMetric, flat
from trainer.evaluation.metrics.evidence import Answers, Floats
from trainer.evaluation.metrics.references import writing_of

REPEATED_ORDER = 4
"""Repetition counts runs of so many tokens: shorter ones recur in good text too."""


class FreeTextMetric(TextMetric):
    """A metric that a row needs no reference for."""

    needs_references = False


class Distinct(FreeTextMetric):
    """Different n-grams among all n-grams of all answers, 0 to 1 (Li et al. 2016, arXiv:1510.03055).

    An n-gram that occurs c times counts 1 / c each time: so the share is a sum over rows. Its interval takes the frequencies as given.
    """

    order = 1

    def statistics(self, evidence: Answers) -> Statistics:
        """Return what each answer adds to the number of different n-grams, and its n-grams."""
        tokens, kind = tokens_of(evidence)
        rows = [ngrams(row, self.order) for row in tokens]
        times = Counter(ngram for row in rows for ngram in row)
        found = [(sum(1 / times[ngram] for ngram in row), len(row)) for row in rows]
        return Statistics(np.array(found, np.float64), f"distinct:{self.order}|case:lower|tok:{kind}|level:corpus")

    def value(self, sums: Floats) -> Floats:
        """Return the share."""
        return ratio(sums[..., 0], sums[..., 1])

    def undefined(self, sums: Floats) -> str:
        """Say that the answers are too short."""
        return "the answers have no words" if self.order == 1 else f"no answer has {self.order} words"


class Distinct1(Distinct):
    """Different tokens among all."""

    facts = FACTS[MetricName.DISTINCT_1]


class Distinct2(Distinct):
    """Different pairs of tokens among all."""

    facts = FACTS[MetricName.DISTINCT_2]
    order = 2


class Repetition(FreeTextMetric):
    """Mean share of an answer's runs of four tokens that it has had before, 0 to 1 (seq-rep-4; Welleck et al. 2020, arXiv:1908.04319)."""

    facts = FACTS[MetricName.REPETITION]

    def statistics(self, evidence: Answers) -> Statistics:
        """Return the share of each answer that is long enough, and 1 for it."""
        tokens, kind = tokens_of(evidence)
        rows = [ngrams(row, REPEATED_ORDER) for row in tokens]
        found = [(1 - len(set(row)) / len(row), 1) if row else (0, 0) for row in rows]
        return Statistics(np.array(found, np.float64), f"seq-rep:{REPEATED_ORDER}|case:lower|tok:{kind}|mean:rows")

    def value(self, sums: Floats) -> Floats:
        """Return the mean."""
        return ratio(sums[..., 0], sums[..., 1])

    def undefined(self, sums: Floats) -> str:
        """Say that the answers are too short."""
        return f"no answer has {REPEATED_ORDER} words"


class Unfinished(FreeTextMetric):
    """Share of answers that the token limit cut, 0 to 1."""

    facts = FACTS[MetricName.UNFINISHED]

    def statistics(self, evidence: Answers) -> Statistics:
        """Return 1 for an answer that was cut, and 1 for each."""
        return Statistics(np.array([(row.cut, 1) for row in evidence.predictions], np.float64), "cut by the token limit|mean:rows")

    def value(self, sums: Floats) -> Floats:
        """Return the share."""
        return ratio(sums[..., 0], sums[..., 1])


def tokens_of(evidence: Answers) -> tuple[list[list[str]], str]:
    """Return the tokens of each answer in lower case, and what they are: words, or characters in scripts without spaces.

    The references' script decides, so that base and tuned model are counted alike; that of the answers only where there is no reference.
    """
    answers = [row.answer.lower() for row in evidence.predictions]
    references = [text for text in flat(evidence.references) if text.strip()]
    if writing_of(references or answers).has_words:
        return [answer.split() for answer in answers], "space"
    return [[character for character in answer if not character.isspace()] for answer in answers], "char"


def ngrams(tokens: Sequence[str], order: int) -> list[tuple[str, ...]]:
    """Return all runs of `order` tokens."""
    return list(zip(*(tokens[start:] for start in range(order)), strict=False))


METRICS = (Distinct1(), Distinct2(), Repetition(), Unfinished())
