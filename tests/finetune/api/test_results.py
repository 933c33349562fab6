"""What a finished run's folder lacks is found by name, whatever way it went."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.api.evaluation import Ablation
from finetune.api.results import ResultsFolder, missing_ablations, missing_results, read_report
from finetune.api.sections import Export

BOTH = [Export.ADAPTER, Export.MERGED]


def finished(folder: Path) -> Path:
    """Write the results of a run in both forms, the whole model in two files."""
    for name in ("adapter", "merged"):
        (folder / "model" / name).mkdir(parents=True)
    (folder / "report.json").write_text("{}")
    (folder / "model" / "adapter" / "adapter_config.json").write_text("{}")
    (folder / "model" / "adapter" / "adapter_model.safetensors").write_text("weights")
    (folder / "model" / "merged" / "config.json").write_text("{}")
    (folder / "model" / "merged" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "1.bin", "b": "2.bin"}}))
    for name in ("1.bin", "2.bin"):
        (folder / "model" / "merged" / name).write_text("weights")
    return folder


def moved_away(file: Path) -> None:
    """Leave a link to a place where the file no longer is."""
    file.unlink()
    file.symlink_to("/nowhere/model.safetensors")


def folder_instead(file: Path) -> None:
    file.unlink()
    file.mkdir()


def test_nothing_is_missing_where_all_is_there(tmp_path: Path) -> None:
    assert missing_results(ResultsFolder(finished(tmp_path)), BOTH) == []


@pytest.mark.parametrize(
    ("damage", "missing"),
    [
        pytest.param(lambda folder: (folder / "report.json").unlink(), ["report.json"], id="report"),
        pytest.param(lambda folder: (folder / "report.json").write_text("{"), ["report.json"], id="torn report"),
        pytest.param(lambda folder: (folder / "model" / "adapter").rename(folder / "kept"), ["model/adapter"], id="adapter"),
        pytest.param(lambda folder: (folder / "model").rename(folder / "kept"), ["model/adapter", "model/merged"], id="model"),
        pytest.param(lambda folder: (folder / "model" / "adapter" / "adapter_model.safetensors").unlink(), ["model/adapter"], id="weights"),
        pytest.param(lambda folder: (folder / "model" / "merged" / "2.bin").unlink(), ["model/merged"], id="one of two weight files"),
        pytest.param(lambda folder: moved_away(folder / "model" / "adapter" / "adapter_model.safetensors"), ["model/adapter"], id="link"),
        pytest.param(lambda folder: folder_instead(folder / "model" / "merged" / "1.bin"), ["model/merged"], id="folder instead"),
        pytest.param(lambda folder: (folder / "model" / "merged" / "config.json").unlink(), ["model/merged"], id="configuration"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, damage: Callable[[Path], object], missing: list[str]) -> None:
    damage(finished(tmp_path))

    assert missing_results(ResultsFolder(tmp_path), BOTH) == missing


def test_a_form_that_is_not_wanted_is_not_missed(tmp_path: Path) -> None:
    (finished(tmp_path) / "model" / "merged").rename(tmp_path / "kept")

    assert missing_results(ResultsFolder(tmp_path), [Export.ADAPTER]) == []


def test_the_answers_that_a_report_lists_are_missed(tmp_path: Path) -> None:
    finished(tmp_path)
    (tmp_path / "report.json").write_text(json.dumps({"predictions": {"path": "/o/predictions.jsonl", "rows": 2}}))
    assert missing_results(ResultsFolder(tmp_path), BOTH) == ["predictions.jsonl"]

    (tmp_path / "predictions.jsonl").write_text("{}\n{}\n")
    assert missing_results(ResultsFolder(tmp_path), BOTH) == []


def test_a_report_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert read_report(ResultsFolder(tmp_path)) is None
    (tmp_path / "report.json").write_text('{"schemaVersion": 3}')
    assert read_report(ResultsFolder(tmp_path)) == {"schemaVersion": 3}


def test_a_measurement_is_missing_where_the_report_names_it_or_runs_are_to_be_compared(tmp_path: Path) -> None:
    results = ResultsFolder(finished(tmp_path))
    assert missing_results(results, [], to_compare=True) == ["measurement.json"]
    (tmp_path / "report.json").write_text(json.dumps({"measurement": {"path": "measurement.json", "bytes": 2}}))
    assert missing_results(results, []) == ["measurement.json"]
    (tmp_path / "measurement.json").write_text("{}")
    assert missing_results(results, [], to_compare=True) == []


def test_control_runs_are_missing_until_the_report_has_their_effect(tmp_path: Path) -> None:
    results, asked = ResultsFolder(finished(tmp_path)), [Ablation.DROPOUT, Ablation.DATA]
    assert missing_ablations(results, asked) == ["ablations/dropout", "ablations/data"]
    (tmp_path / "report.json").write_text(json.dumps({"ablations": [{"name": "dropout"}], "dataCurve": []}))
    assert missing_ablations(results, asked) == ["ablations/data"]
    (tmp_path / "report.json").write_text(json.dumps({"ablations": [{"name": "dropout"}], "dataCurve": [{"rows": 4}]}))
    assert missing_ablations(results, asked) == []


def test_control_runs_that_failed_for_good_are_not_missing(tmp_path: Path) -> None:
    results, asked = ResultsFolder(finished(tmp_path)), [Ablation.DROPOUT, Ablation.DATA]
    failed = {"failed": "step 3: loss nan"}
    report = {"ablations": [{"name": "dropout", **failed}], "dataCurve": [{"name": "25 % of the rows", "share": 0.25, **failed}]}
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert missing_ablations(results, asked) == []
