"""What was measured of a model, alone or beside its base, in the form of a report."""

from dataclasses import replace

import jiwer
import pytest

from finetune.api.metrics import MetricName, Needs
from tests.builders import train_config
from trainer.evaluation.measurement import Measurement, measured_from
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.evidence import Answers, Prediction
from trainer.reporting.evaluated import Evaluated, report_of
from trainer.reporting.render import figures_table, metrics_table, remarks


def evaluated(tuned: Measurement, base: Measurement | None = None) -> Evaluated:
    return Evaluated(train_config(), "/runs/bot", "the adapter", 7, MetricName.PERPLEXITY, tuned, base)


def of(**figures: Figure) -> Measurement:
    return Measurement({MetricName(name): figure for name, figure in figures.items()})


def test_a_model_alone_has_figures_and_nothing_to_compare() -> None:
    report = report_of(evaluated(of(perplexity=Figure(3.5), wer=Figure(None, reason="no words"))))

    assert report["final"]["perplexity"]["value"] == 3.5
    assert not {"baseline", "change"} & report.keys()
    assert remarks(report) == ["WER is left out: no words"]
    assert figures_table(report).row_count == 2


def test_beside_its_base_the_change_is_said() -> None:
    report = report_of(evaluated(of(perplexity=Figure(3.0)), of(perplexity=Figure(4.0))))

    assert report["baseline"]["perplexity"]["value"] == 4.0
    assert report["change"]["perplexity"]["difference"] == -1.0
    assert metrics_table(report).row_count == 1


def test_every_source_has_its_share_of_the_answers_that_are_shown() -> None:
    rows = [Prediction(f"question {number}", ("right",), "said", source=f"data.test[{number // 4}]") for number in range(6)]
    measured = measured_from(Needs.GENERATED_TEXT, Answers(tuple(rows)), [MetricName.EXACT_MATCH])

    report = report_of(evaluated(measured, measured))

    assert [sample["prompt"] for sample in report["samples"]] == ["question 0", "question 1", "question 4"]
    assert {sample["base"] for sample in report["samples"]} == {"said"}
    assert report["rows"]["generated"] == 6


def test_answers_that_were_found_are_not_said_to_be_written() -> None:
    spans = measured_from(Needs.SPANS, Answers((Prediction("Who?", ("Ann",), "Ann"),)), [MetricName.SQUAD_F1])

    report = report_of(evaluated(spans))

    assert (report["answers"], report["rows"]["generated"]) == (None, 0), "as in report.json"
    assert [sample["tuned"] for sample in report["samples"]] == ["Ann"]


def test_of_a_task_that_improves_texts_the_texts_as_they_were_given_are_measured_too() -> None:
    rows = [("i sea the light", "i see the light"), ("to two", "two to two")]
    answers = Answers(tuple(Prediction(given, (reference,), reference) for given, reference in rows))
    tuned = measured_from(Needs.GENERATED_TEXT, answers, [MetricName.WER])

    report = report_of(replace(evaluated(tuned), job=train_config(task="transcript-correction")))

    assert report["final"]["wer"]["value"] == 0
    assert report["unchanged"]["wer"]["value"] == pytest.approx(jiwer.wer([right for _, right in rows], [given for given, _ in rows]))
    assert "unchanged" not in report_of(evaluated(tuned))
    assert "unchanged" in [str(column.header) for column in figures_table(report).columns]
