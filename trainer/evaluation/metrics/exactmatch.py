"""Exact match: each answer is right or wrong. Pure. Test: tests/trainer/evaluation/metrics/test_exactmatch.py."""

import numpy as np

from finetune.api.metrics import METRICS as FACTS
from finetune.api.metrics import MetricName
from trainer.evaluation.metrics.base import Statistics, ratio
from trainer.evaluation.metrics.corpus import TextMetric
from trainer.evaluation.metrics.evidence import Answers, Floats


class ExactMatch(TextMetric):
    """Share of answers, 0 to 100, that equal a reference, ignoring case and the amount of white space.

    Leading and trailing white space is removed, and inner runs count as one space; punctuation and accents matter.
    """

    facts = FACTS[MetricName.EXACT_MATCH]

    def statistics(self, evidence: Answers) -> Statistics:
        """Return 1 for an answer that equals one of its references, and 1 for every row."""
        equal = [
            _without_case_and_space(row.answer) in {_without_case_and_space(text) for text in row.references}
            for row in evidence.predictions
        ]
        return Statistics(np.stack([equal, np.ones(len(equal))], axis=1), "case:fold|space:collapsed|punct:kept")

    def value(self, sums: Floats) -> Floats:
        """Return the percentage."""
        return 100 * ratio(sums[..., 0], sums[..., 1])


def _without_case_and_space(text: str) -> str:
    return " ".join(text.split()).casefold()


METRICS = (ExactMatch(),)
