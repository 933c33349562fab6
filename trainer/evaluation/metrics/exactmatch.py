"""Exact match: each answer is right or wrong. Pure. Test: tests/trainer/evaluation/metrics/test_exactmatch.py."""

from collections.abc import Sequence

from finetune.api.metrics import METRICS as FACTS
from finetune.api.metrics import MetricName
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.corpus import TextMetric


class ExactMatch(TextMetric):
    """Share of answers, 0 to 100, that equal the reference, ignoring case and the amount of white space.

    Leading and trailing white space is removed, and inner runs count as one space; punctuation and accents matter.
    """

    facts = FACTS[MetricName.EXACT_MATCH]

    def measure(self, answers: Sequence[str], references: Sequence[str]) -> Figure:
        """Return the percentage of answers equal to their reference."""
        pairs = zip(map(_without_case_and_space, answers), map(_without_case_and_space, references), strict=True)
        equal = sum(answer == reference for answer, reference in pairs)
        return Figure(100 * equal / len(references), "case:fold|space:collapsed|punct:kept")


def _without_case_and_space(text: str) -> str:
    return " ".join(text.split()).casefold()


METRICS = (ExactMatch(),)
