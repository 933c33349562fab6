"""What control runs show, against direct computation, and the sentence on what more rows bring."""

from typing import Any

import numpy as np
import pytest

from finetune.api.metrics import MetricName, Needs, Verdict
from trainer.evaluation.measured import Measured
from trainer.evaluation.measurement import Measurement, measured_from
from trainer.evaluation.metrics.evidence import Classified, ClassPrediction
from trainer.reporting.effects import OtherRowsError, curve_to_wire, differences_to_wire, effect_to_wire

ROWS = 200


def measured(right: Any, rows: str = "rows") -> Measured:
    """Return a model that is right on these rows of ROWS, which have two classes."""
    predictions = tuple(ClassPrediction((0,), (0.9, 0.1) if one else (0.1, 0.9)) for one in right)
    tuned = measured_from(Needs.CLASSES, Classified(("yes", "no"), predictions), [MetricName.ACCURACY])
    return Measured(rows, "conditions", 9, Measurement(), tuned)


def report(rows: int, steps: int = 10) -> dict[str, Any]:
    return {"data": {"train": rows}, "training": {"steps": steps, "epochs": 2.0}, "timings": {"seconds": 12.34}, "judgedBy": "accuracy"}


def right_on(count: int) -> Any:
    return np.arange(ROWS) < count


def test_the_difference_is_that_of_the_same_rows() -> None:
    main, control = measured(right_on(150)), measured(right_on(120))
    found = effect_to_wire("dropout", {"regularization.dropout": 0.1}, main, control, report(50))
    figures = found["metrics"]["accuracy"]
    assert (found["name"], found["without"], found["seconds"], found["steps"]) == ("dropout", {"regularization.dropout": 0.1}, 12.3, 10)
    assert (figures["control"], figures["main"]) == (0.6, 0.75)
    assert figures["difference"] == pytest.approx(0.15)
    # Rows differ by 1 with a share of 0.15, always in the same direction: a binomial's interval, not that of two independent figures.
    spread = 1.96 * (0.15 * 0.85 / ROWS) ** 0.5
    assert figures["interval"] == pytest.approx([0.15 - spread, 0.15 + spread], abs=0.008)
    assert figures["verdict"] == Verdict.BETTER
    assert figures["pValue"] < 0.01


def test_each_source_of_the_rows_has_a_difference_of_its_own() -> None:
    def of(near: int, far: int) -> Measured:
        right = [number // 2 < (far if number % 2 else near) for number in range(ROWS)]
        predictions = tuple(
            ClassPrediction((0,), (0.9, 0.1) if one else (0.1, 0.9), source=("near", "far")[number % 2]) for number, one in enumerate(right)
        )
        tuned = measured_from(Needs.CLASSES, Classified(("yes", "no"), predictions), [MetricName.ACCURACY])
        return Measured("rows", "conditions", 9, Measurement(), tuned)

    found = differences_to_wire(of(50, 80), of(90, 80), ("control", "main"))["accuracy"]["sources"]
    assert [(source, found[source]["control"], found[source]["main"]) for source in found] == [("near", 0.5, 0.9), ("far", 0.8, 0.8)]
    assert (found["near"]["verdict"], found["far"]["difference"]) == (Verdict.BETTER, 0)


def test_runs_on_other_rows_are_not_compared() -> None:
    with pytest.raises(OtherRowsError):
        differences_to_wire(measured(right_on(9)), measured(right_on(9), rows="others"), ("control", "main"))


@pytest.mark.parametrize(
    ("half", "whole", "same_steps", "says"),
    [
        (120, 150, False, "From 50 to 100 training rows, for the same number of epochs, Accuracy changed by +0.150 (95 % interval +"),
        (150, 120, True, "From 50 to 100 training rows, for the same number of steps, Accuracy changed by -0.150 (95 % interval -"),
        (
            150,
            151,
            False,
            "From 50 to 100 training rows, for the same number of epochs, Accuracy changed by +0.005 (95 % interval +0.000",
        ),
    ],
)
def test_the_sentence_says_what_the_rows_show(half: int, whole: int, same_steps: bool, says: str) -> None:
    points = [
        (report(25), 0.25, measured(right_on(90))),
        (report(50), 0.5, measured(right_on(half))),
        (report(100), 1.0, measured(right_on(whole))),
    ]
    curve, sentence = curve_to_wire(points, "accuracy", same_steps=same_steps)
    assert [(point["rows"], point["share"], point["metrics"]["accuracy"]["value"]) for point in curve] == [
        (25, 0.25, 0.45), (50, 0.5, half / 200), (100, 1.0, whole / 200),
    ]  # fmt: skip
    assert all(
        low <= point["metrics"]["accuracy"]["value"] <= high for point in curve for low, high in [point["metrics"]["accuracy"]["interval"]]
    )
    assert sentence.startswith(says)
    ends = {120: "more rows still help.", 150: "it is unclear whether more rows would help: the interval includes 0."}
    assert sentence.endswith(ends[half] if whole > half else "or to too short a training.")


def test_without_a_share_to_compare_with_the_sentence_says_that_nothing_shows() -> None:
    curve, sentence = curve_to_wire([(report(100), 1.0, measured(right_on(90)))], "accuracy", same_steps=False)
    assert [point["share"] for point in curve] == [1.0]
    assert sentence == "Only the run on all rows has figures, so the effect of more rows is unknown."


def test_a_handful_of_test_rows_shows_nothing() -> None:
    few = [(report(rows), share, measured(np.array([True, False]))) for rows, share in ((25, 0.25), (50, 0.5), (100, 1.0))]
    _, sentence = curve_to_wire(few, "accuracy", same_steps=False)
    assert sentence.endswith("there are too few test rows to tell whether more rows help.")
