"""Figures of classes against definitions written out row by row."""

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.api.metrics import MetricName, Needs, metrics_needing
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.evidence import Classified, ClassPrediction
from trainer.evaluation.metrics.registry import compute

NAMES = ("a", "b", "c")


def figures(evidence: Classified) -> dict[MetricName, Figure]:
    return compute(metrics_needing(Needs.CLASSES), {Needs.CLASSES: evidence})


def chosen(right: Sequence[int], given: Sequence[int]) -> Classified:
    """Return rows of these right and chosen classes."""
    rows = (
        ClassPrediction((gold,), tuple(0.8 if index == one else 0.1 for index in range(3))) for gold, one in zip(right, given, strict=True)
    )
    return Classified(NAMES, tuple(rows))


def f1(right: Sequence[set[int]], given: Sequence[set[int]], label: int) -> float | None:
    hits = sum(label in one and label in other for one, other in zip(right, given, strict=True))
    total = sum(label in one for one in right) + sum(label in one for one in given)
    return 2 * hits / total if total else None


def correlation(right: Sequence[int], given: Sequence[int]) -> float:
    """Return Gorodkin's R_K from its definition: the covariance of indicator matrices."""

    def covariance(one: Sequence[int], other: Sequence[int]) -> float:
        count, total = len(one), 0.0
        for label in range(3):
            left, second = [value == label for value in one], [value == label for value in other]
            total += sum((x - sum(left) / count) * (y - sum(second) / count) for x, y in zip(left, second, strict=True))
        return total

    spread = covariance(right, right) * covariance(given, given)
    return covariance(right, given) / math.sqrt(spread) if spread > 1e-12 else 0.0


classes = st.integers(0, 2)


@given(st.lists(st.tuples(classes, classes), min_size=1, max_size=12))
def test_figures_of_one_class_a_row_are_those_of_their_definitions(rows: list[tuple[int, int]]) -> None:
    right, given = [one for one, _ in rows], [other for _, other in rows]
    found = figures(chosen(right, given))
    accuracy = sum(one == other for one, other in rows) / len(rows)
    scores = [score for label in range(3) if (score := f1([{one} for one in right], [{one} for one in given], label)) is not None]
    assert found[MetricName.ACCURACY].value == pytest.approx(accuracy)
    assert found[MetricName.MICRO_F1].value == pytest.approx(accuracy)
    assert found[MetricName.MACRO_F1].value == pytest.approx(sum(scores) / len(scores))
    assert found[MetricName.MCC].value == pytest.approx(correlation(right, given), abs=1e-9)
    assert found[MetricName.CALIBRATION_ERROR].value == pytest.approx(abs(accuracy - 0.8))


labels = st.sets(classes)


@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=8))
def test_figures_of_several_labels_a_row_are_those_of_their_definitions(rows: list[tuple[set[int], set[int]]]) -> None:
    evidence = Classified(
        NAMES,
        tuple(ClassPrediction(tuple(sorted(right)), tuple(0.9 if one in given else 0.2 for one in range(3))) for right, given in rows),
        True,
    )
    found = figures(evidence)
    right, given = [one for one, _ in rows], [other for _, other in rows]
    assert found[MetricName.ACCURACY].value == pytest.approx(sum(one == other for one, other in rows) / len(rows))
    scores = [score for label in range(3) if (score := f1(right, given, label)) is not None]
    assert found[MetricName.MACRO_F1].value == (pytest.approx(sum(scores) / len(scores)) if scores else None)
    total = sum(len(one) + len(other) for one, other in rows)
    assert found[MetricName.MICRO_F1].value == (pytest.approx(2 * sum(len(one & other) for one, other in rows) / total) if total else None)
    assert (found[MetricName.MCC].value, found[MetricName.MCC].reason) == (None, "rows have several labels")
    assert found[MetricName.CALIBRATION_ERROR].value is None


def test_the_known_example_of_a_confusion_matrix() -> None:
    # scikit-learn's documentation of confusion_matrix and of matthews_corrcoef.
    found = figures(chosen([2, 0, 2, 2, 0, 1], [0, 0, 2, 2, 0, 2]))
    assert found[MetricName.ACCURACY].details == {"classes": list(NAMES), "confusion": [[2, 0, 0], [0, 0, 1], [1, 0, 2]]}
    two = Classified(("-", "+"), tuple(ClassPrediction((gold,), (1.0 - one, float(one))) for gold, one in ((1, 1), (1, 0), (1, 1), (0, 1))))
    assert figures(two)[MetricName.MCC].value == pytest.approx(-1 / 3)


def test_decisions_of_several_labels_are_counted_label_by_label() -> None:
    rows = (ClassPrediction((0, 1), (0.9, 0.1, 0.6)), ClassPrediction((1,), (0.1, 0.7, 0.2)))
    found = figures(Classified(NAMES, rows, several=True))[MetricName.ACCURACY]
    assert found.details == {"classes": list(NAMES), "decisions": [[1, 0, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]}


def test_calibration_compares_each_bin_of_probabilities_with_what_was_right() -> None:
    probabilities = (0.95, 0.95, 0.55, 0.55)
    rows = (ClassPrediction((int(not right),), (value, 1 - value)) for value, right in zip(probabilities, (1, 1, 0, 0), strict=True))
    found = figures(Classified(("yes", "no"), tuple(rows)))[MetricName.CALIBRATION_ERROR]
    assert found.value == pytest.approx(0.5 * abs(1 - 0.95) + 0.5 * abs(0 - 0.55))


def test_figures_do_not_depend_on_the_order_of_rows() -> None:
    right, given = [0, 1, 2, 1], [0, 2, 2, 1]
    values = {
        tuple(round(figure.value or 0, 12) for figure in figures(chosen([right[i] for i in order], [given[i] for i in order])).values())
        for order in itertools.permutations(range(4))
    }
    assert len(values) == 1


def test_without_rows_nothing_is_measured() -> None:
    assert {figure.value for figure in figures(Classified(NAMES)).values()} == {None}
