"""How well a model classifies: accuracy, F1 over classes, Matthews' correlation, and whether its probabilities can be believed.

Of rows with one class each, or with several labels, where each label is decided for itself. Test:
tests/trainer/evaluation/metrics/test_classes.py.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from finetune.api.metrics import METRICS as FACTS
from finetune.api.metrics import MetricName
from trainer.evaluation.metrics.base import Metric, Statistics, ratio
from trainer.evaluation.metrics.evidence import Classified, Floats

BINS = 15
"""Equally wide bins of the probability of the chosen class (Guo et al. 2017, arXiv:1706.04599)."""
SEVERAL = "rows have several labels"


class ClassMetric(Metric[Classified]):
    """A metric of classified rows."""

    single = False
    """Whether it is defined only for rows of one class."""

    def reason_left_out(self, evidence: Classified) -> str | None:
        """Undefined without rows, and some for rows of several labels."""
        return SEVERAL if self.single and evidence.several else super().reason_left_out(evidence)


class Accuracy(ClassMetric):
    """Share of rows whose class is right; of rows with several labels, where all of them are."""

    facts = FACTS[MetricName.ACCURACY]

    def statistics(self, evidence: Classified) -> Statistics:
        """Return whether each row is right, and 1."""
        right = (evidence.right == evidence.chosen).all(axis=1)
        return Statistics(np.stack([right, np.ones(len(right))], axis=1), f"labels:{_labels(evidence)}|classes:{len(evidence.names)}")

    def value(self, sums: Floats) -> Floats:
        """Return the share."""
        return ratio(sums[..., 0], sums[..., 1])

    def details(self, sums: Floats, evidence: Classified) -> Mapping[str, Any]:
        """Return the classes and the confusion matrix: how many rows of a class (a line) were given each class (a column).

        Of rows with several labels instead, for each: how often it was rightly chosen, wrongly chosen, missed, and rightly left out.
        """
        right, chosen = evidence.right.astype(np.int64), evidence.chosen.astype(np.int64)
        if not evidence.several:
            return {"classes": list(evidence.names), "confusion": (right.T @ chosen).tolist()}
        pairs = ((right, chosen), (1 - right, chosen), (right, 1 - chosen), (1 - right, 1 - chosen))
        counts = [(one & other).sum(axis=0) for one, other in pairs]
        return {"classes": list(evidence.names), "decisions": np.stack(counts, axis=1).tolist()}


class MacroF1(ClassMetric):
    """Mean F1 of the classes that are right or chosen in some row."""

    facts = FACTS[MetricName.MACRO_F1]

    def statistics(self, evidence: Classified) -> Statistics:
        """Return whether each class is right and chosen, and how often it is either, counting both: (rows, 2 classes)."""
        right, chosen = evidence.right, evidence.chosen
        counts = np.concatenate([right & chosen, right.astype(np.int8) + chosen], axis=1)
        return Statistics(counts, f"labels:{_labels(evidence)}|mean:classes")

    def value(self, sums: Floats) -> Floats:
        """Return the mean of 2 tp / (2 tp + fp + fn)."""
        both, either = np.split(np.asarray(sums), 2, axis=-1)
        scores = ratio(2 * both, either)
        present = ~np.isnan(scores)
        return ratio(np.where(present, scores, 0).sum(axis=-1), present.sum(axis=-1))


class MicroF1(ClassMetric):
    """F1 over all decisions; of rows with one class it is the accuracy."""

    facts = FACTS[MetricName.MICRO_F1]

    def statistics(self, evidence: Classified) -> Statistics:
        """Return in how many classes both agree, and how many are right or chosen, counting both."""
        right, chosen = evidence.right, evidence.chosen
        columns = [(right & chosen).sum(axis=1), right.sum(axis=1) + chosen.sum(axis=1)]
        return Statistics(np.stack(columns, axis=1).astype(np.float64), f"labels:{_labels(evidence)}|level:corpus")

    def value(self, sums: Floats) -> Floats:
        """Return 2 tp / (2 tp + fp + fn)."""
        return ratio(2 * sums[..., 0], sums[..., 1])

    def undefined(self, sums: Floats) -> str:
        """Say that there is nothing to count."""
        return "no label is right or chosen"


class Matthews(ClassMetric):
    """Matthews' correlation of right and chosen classes, -1 to 1 (Gorodkin 2004, R_K for K classes); 0 where one class has all rows."""

    facts = FACTS[MetricName.MCC]
    single = True

    def statistics(self, evidence: Classified) -> Statistics:
        """Return whether the row is right, 1, and which class is right and which chosen: (rows, 2 + 2 classes)."""
        right, chosen = evidence.right, evidence.chosen
        agree = (right & chosen).any(axis=1, keepdims=True)
        columns = [agree, np.ones_like(agree), right, chosen]
        return Statistics(np.concatenate(columns, axis=1).astype(np.int8), f"R_K|classes:{len(evidence.names)}")

    def value(self, sums: Floats) -> Floats:
        """Return the correlation."""
        sums = np.asarray(sums)
        correct, rows = sums[..., 0], sums[..., 1]
        right, chosen = np.split(sums[..., 2:], 2, axis=-1)
        spread = (rows**2 - (right**2).sum(axis=-1)) * (rows**2 - (chosen**2).sum(axis=-1))
        return np.nan_to_num(ratio(correct * rows - (right * chosen).sum(axis=-1), np.sqrt(spread)))


class CalibrationError(ClassMetric):
    """Expected calibration error: how far the probability of the chosen class is from how often it is right, 0 to 1.

    Has no interval: each resample adds noise to the distance in every bin, and a distance only grows by it.
    """

    facts = FACTS[MetricName.CALIBRATION_ERROR]
    resampled = False
    single = True

    def statistics(self, evidence: Classified) -> Statistics:
        """Return for each bin whether the row is in it and right, and its probability in it; and 1: (rows, 2 bins + 1)."""
        rows = np.arange(len(evidence))
        confidence = evidence.probabilities.max(axis=1)
        bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
        found = np.zeros((len(evidence), 2 * BINS + 1))
        found[rows, bins] = (evidence.right & evidence.chosen).any(axis=1)
        found[rows, BINS + bins] = confidence
        found[:, -1] = 1
        return Statistics(found, f"ece|bins:{BINS}")

    def value(self, sums: Floats) -> Floats:
        """Return the mean difference over rows."""
        right, confidence = np.split(np.asarray(sums)[..., :-1], 2, axis=-1)
        return ratio(np.abs(right - confidence).sum(axis=-1), sums[..., -1])


def _labels(evidence: Classified) -> str:
    return "several" if evidence.several else "one"


METRICS = (Accuracy(), MacroF1(), MicroF1(), Matthews(), CalibrationError())
