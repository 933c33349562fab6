"""measurement.json gives back what was measured, and nothing where it cannot be read."""

import json
from pathlib import Path

import pytest

from finetune.api.metrics import MetricName, Needs
from finetune.api.results import ResultsFolder
from trainer.evaluation.measured import Measured, measured_in
from trainer.evaluation.measurement import measured_from
from trainer.evaluation.metrics.evidence import Answers, Classified, ClassPrediction, Prediction


def measured() -> Measured:
    classes = Classified(("no", "yes"), (ClassPrediction((1,), (0.1, 0.9)), ClassPrediction((0,), (0.3, 0.7))))
    answers = Answers((Prediction("What?", ("This.",), "That \u5317."), Prediction("Who?", ("Me.",), "Me.")))
    tuned = measured_from(Needs.GENERATED_TEXT, answers, [MetricName.EXACT_MATCH])
    return Measured("rows", "conditions", 7, measured_from(Needs.CLASSES, classes, [MetricName.ACCURACY]), tuned)


def test_what_was_measured_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "measurement.json").write_text(measured().to_text(), encoding="utf-8")
    found = measured_in(ResultsFolder(tmp_path))
    assert found is not None
    assert (found.rows, found.conditions, found.step) == ("rows", "conditions", 7)
    assert (found.base, found.tuned) == (measured().base, measured().tuned)
    assert found.to_text() == measured().to_text()


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", json.dumps({**json.loads(measured().to_text()), "format": 99}), json.dumps({"format": 1, "rows": "rows"})],
)
def test_a_file_of_another_form_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "measurement.json").write_text(content)
    assert measured_in(ResultsFolder(tmp_path)) is None


def test_no_file_is_none(tmp_path: Path) -> None:
    assert measured_in(ResultsFolder(tmp_path)) is None
