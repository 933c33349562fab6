import json
import math
from typing import Any

import pytest
import torch

from finetune.api.metrics import Compared, MetricName, Score, Verdict
from tests.trainer.evaluation.builders import report
from trainer.evaluation.bootstrap import Interval
from trainer.evaluation.comparison import Certainty, Comparison, Difference, Part
from trainer.evaluation.metrics.base import Figure
from trainer.reporting.report import DataCounts, metrics_of, with_exports


def test_both_models_have_each_metric_as_an_object_with_value() -> None:
    written = report()

    assert written["baseline"]["perplexity"] == {"value": 20.0, "scale": "from 1", "direction": "lower", "rows": 40, "signature": "ppl"}
    assert written["final"]["bleu"] == {
        "value": 12.5, "scale": "0 to 100", "fraction": 0.125, "direction": "higher", "rows": 30, "signature": "sig", "unit": "0-100",
    }  # fmt: skip
    assert written["rows"] == {"evaluated": 40, "generated": 30}


def test_change_is_given_as_difference_and_ratio() -> None:
    change = report()["change"]

    assert change["perplexity"] == {"difference": -12.0, "ratio": pytest.approx(0.4)}
    assert change["bleu"] == {"difference": 10.5, "ratio": 6.25}


BASE, TUNED, SHIFT = Interval(18.0, 22.0), Interval(7.0, 9.0), Interval(-13.0, -11.0)
COMPARISON = Comparison(
    {MetricName.PERPLEXITY: Certainty(BASE)},
    {MetricName.PERPLEXITY: Certainty(TUNED, {"data.test[0]": Part(7.5, 25, TUNED), "data.test[1]": Part(9.0, 1, None)})},
    {MetricName.PERPLEXITY: Difference(SHIFT, 0.002, Verdict.BETTER)},
)


def test_figures_have_intervals_and_parts_and_changes_say_what_the_rows_show() -> None:
    written = report(comparison=COMPARISON)

    assert written["baseline"]["perplexity"]["interval"] == [18.0, 22.0]
    assert written["final"]["perplexity"]["interval"] == [7.0, 9.0]
    assert written["final"]["perplexity"]["sources"] == {
        "data.test[0]": {"value": 7.5, "interval": [7.0, 9.0], "rows": 25}, "data.test[1]": {"value": 9.0, "interval": None, "rows": 1},
    }  # fmt: skip
    change = written["change"]["perplexity"]
    assert (change["interval"], change["pValue"], change["verdict"]) == ([-13.0, -11.0], 0.002, "better")
    assert "verdict" not in written["change"]["bleu"]
    assert metrics_of(written).compared[MetricName.PERPLEXITY] == Compared(interval=(7.0, 9.0), verdict=Verdict.BETTER, rows=40)


def test_a_figure_without_an_interval_says_why() -> None:
    written = report(comparison=Comparison(tuned={MetricName.PERPLEXITY: Certainty(no_interval="all rows are alike")}))

    assert written["final"]["perplexity"]["noInterval"] == "all rows are alike"
    assert "interval" not in written["final"]["perplexity"]


def test_parts_of_a_figure_are_in_its_object() -> None:
    figure = Figure(0.2, "sig", rows=9, details={"substitutions": 3, "insertions": 1, "deletions": 0})

    assert report(final={"wer": figure})["final"]["wer"]["substitutions"] == 3


def test_a_base_of_zero_has_no_ratio() -> None:
    change = report(baseline={"bleu": Figure(0.0)}, final={"bleu": Figure(3.0)})["change"]

    assert change["bleu"] == {"difference": 3.0, "ratio": None}


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_the_report_is_strict_json_whatever_was_measured(value: float) -> None:
    written = report(baseline={"perplexity": Figure(value)}, augmentation={"changedShare": 0.1})

    text = json.dumps(written, allow_nan=False)

    assert json.loads(text)["baseline"]["perplexity"]["value"] is None


def test_the_pieces_of_texts_are_counted_beside_the_rows() -> None:
    assert report(data=DataCounts(2, 1, 1, train_pieces=30))["data"]["trainPieces"] == 30
    assert "trainPieces" not in report()["data"]


def test_it_says_what_was_trained_on_what_with_which_versions() -> None:
    written = report()

    assert written["schemaVersion"] == 5
    assert written["job"] == {"name": "support-bot", "attempt": 1, "task": "chat"}
    assert written["model"]["digest"] == "sha256:0"
    assert written["data"] == {"train": 300, "validation": 20, "test": 40, "sources": [], "digests": {}}
    assert (written["training"]["trainableParameters"], written["training"]["peakMemoryBytes"]) == (123, 2**30)
    assert written["training"]["peakDeviceMemoryBytes"] is None, "no GPU"
    assert written["best"] == {"metric": "perplexity", "value": 7.5, "direction": "lower", "step": 5}
    assert written["checkpoints"][0]["step"] == 10
    assert written["exports"] == [{"form": "adapter", "path": "/o/model/adapter", "step": 5}]
    assert written["hyperparameters"] == {"training": {"seed": 42}}
    assert written["warnings"] == ["two rows were cut"]
    assert written["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_samples_show_what_both_models_answer() -> None:
    first = report()["samples"][0]

    assert first == {"prompt": "question 0", "reference": "reference 0", "base": "base answer 0", "tuned": "tuned answer 0"}


def test_a_figure_that_is_undefined_has_a_reason_in_place_of_a_value() -> None:
    written = report(baseline={"bleu": Figure(None, unit="0-100", reason="too short")}, final={"bleu": Figure(3.0)})

    assert written["baseline"]["bleu"]["value"] is None
    assert written["baseline"]["bleu"]["reason"] == "too short"
    assert written["change"]["bleu"] == {"difference": None, "ratio": None}


def test_answers_that_the_limit_ended_are_counted_for_both_models() -> None:
    assert report(cut_answers=(24, 3))["answers"] == {
        "maxNewTokens": 128, "baseline": {"cut": 24, "cutShare": 0.8}, "final": {"cut": 3, "cutShare": 0.1},
    }  # fmt: skip
    assert report(generated_rows=0)["answers"] is None


@pytest.mark.parametrize(
    ("exports", "forms"),
    [
        pytest.param([{"form": "adapter", "path": "/o/model/adapter", "step": 5}], {"adapter": 5, "merged": 7}, id="another form"),
        pytest.param([{"form": "merged", "path": "/o/model/merged", "step": 5}], {"merged": 7}, id="the same form"),
    ],
)
def test_an_export_made_later_is_entered_beside_or_instead_of_the_earlier_ones(exports: list, forms: dict[str, int | None]) -> None:
    entered = with_exports(report() | {"exports": exports}, [{"form": "merged", "path": "/x", "step": 7}])

    assert {entry["form"]: entry.get("step") for entry in entered["exports"]} == forms
    assert entered["final"] == report()["final"]


@pytest.mark.parametrize(
    ("report_says", "marks"),
    [
        pytest.param({}, {"adapter": None, "merged": False}, id="another step"),
        pytest.param({"measuredStep": 7}, {"adapter": None, "merged": None}, id="the step that was measured"),
    ],
)
def test_an_export_of_other_weights_than_the_figures_are_of_is_marked(report_says: dict[str, Any], marks: dict[str, bool | None]) -> None:
    entered = with_exports(report() | report_says, [{"form": "merged", "path": "/x", "step": 7}])

    assert {entry["form"]: entry.get("measured") for entry in entered["exports"]} == marks


def test_the_metrics_of_a_report_have_the_score_of_the_final_model() -> None:
    metrics = metrics_of(json.loads(json.dumps(report(baseline={"perplexity": Figure(20.0), "wer": Figure(None)}))))

    assert (metrics.baseline, metrics.final["perplexity"]) == ({"perplexity": 20.0}, 8.0)
    assert metrics.score == Score.of(MetricName.PERPLEXITY, 8.0, step=5)
    assert metrics.best == Score.of(MetricName.PERPLEXITY, 7.5, step=5)


def test_a_report_that_does_not_name_the_step_of_its_figures_has_no_score() -> None:
    written = report()
    del written["measuredStep"]

    assert metrics_of(written).score is None
