"""Runs beside each other: which settings differ, which figures may be compared, and what is said where something is missing."""

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from finetune.api.metrics import MetricName
from tests.builders import train_config
from tests.trainer.reporting.test_effects import measured, right_on
from trainer.reporting.compared import FoundRun, compared_to_wire, differing_settings, validated_figure
from trainer.reporting.curves import draw, smoothed
from trainer.reporting.rendercompared import render_compared


def report(test_rows: str = "rows", value: float = 0.75) -> dict[str, Any]:
    return {
        "data": {"digests": {"data.test": test_rows}}, "rows": {"evaluated": 200}, "judgedBy": "accuracy", "best": {"step": 4},
        "final": {"accuracy": {"value": value, "interval": [value - 0.05, value + 0.05]}}, "timings": {"seconds": 30.0},
        "training": {"steps": 6, "epochs": 2.0, "seconds": 12.0, "trainLoss": 0.5, "stoppedEarly": False},
    }  # fmt: skip


LINES = [{"step": step, "trainLoss": 2 / step, **({"validation/accuracy": step / 8} if step % 2 == 0 else {})} for step in range(1, 7)]


def found(name: str, right: int | None = 150, rows: str = "rows", **changes: Any) -> FoundRun:
    config = train_config(**changes)
    measurement = None if right is None else measured(right_on(right), rows)
    return FoundRun(name, config.lineage(), {"data.train": "0" * 64}, True, report(rows, (right or 0) / 200), measurement, LINES)


def shown(*runs: FoundRun) -> list[str]:
    console = Console(width=80, file=StringIO())
    console.print(render_compared(compared_to_wire(runs)))
    written = console.file.getvalue()  # type: ignore[attr-defined]
    return [" ".join(line.split()) for line in written.splitlines()]


def test_only_settings_that_differ_are_named_as_a_job_names_them() -> None:
    first, second = found("a"), found("b", training__learningRate=0.5, augmentation={"operations": [{"wordSwap": {"probability": 0.2}}]})
    assert differing_settings([first, second]) == {
        "training.learningRate": {"a": 2e-4, "b": 0.5},
        "augmentation.operations[0].wordSwap.probability": {"a": None, "b": 0.2},
        "augmentation.operations[0].wordSwap.kind": {"a": None, "b": "neighbors"},
    }


def test_a_field_that_an_earlier_version_did_not_record_is_at_its_default() -> None:
    older = found("older")
    lineage = {**older.lineage, "training": {name: value for name, value in older.lineage["training"].items() if name != "groupByLength"}}
    assert differing_settings([FoundRun("older", lineage, older.digests, True), found("newer")]) == {}


def test_a_word_of_an_earlier_version_leaves_the_defaults_beside_it_filled_in() -> None:
    older, newer = found("older"), found("newer", training__gradientCheckpointing="never", training__learningRate=0.5)
    kept = {name: value for name, value in older.lineage["training"].items() if name != "groupByLength"}
    older = FoundRun("older", {**older.lineage, "training": {**kept, "gradientCheckpointing": False}}, older.digests, True)
    assert differing_settings([older, newer]) == {"training.learningRate": {"older": 2e-4, "newer": 0.5}}


def test_a_member_that_this_version_does_not_know_leaves_the_defaults_beside_it_filled_in() -> None:
    newer, older = found("newer"), found("older")
    lora = {name: value for name, value in newer.lineage["method"]["lora"].items() if name not in ("dropout", "useDora")}
    lineage = {**newer.lineage, "method": {"lora": {**lora, "useMagic": True, "rank": "all"}}}
    newer = FoundRun("newer", lineage, newer.digests, True)
    assert differing_settings([newer, older]) == {
        "method.lora.rank": {"newer": "all", "older": 4}, "method.lora.useMagic": {"newer": True, "older": None},
    }  # fmt: skip


def test_files_are_told_apart_by_what_they_hold() -> None:
    one, other = found("a"), found("b")
    other = FoundRun("b", other.lineage, {"data.train": "f" * 64}, True, other.report, other.measured)
    assert differing_settings([one, other]) == {"data.train (content)": {"a": "0" * 12, "b": "f" * 12}}


def test_figures_of_the_same_rows_are_compared_row_by_row() -> None:
    wire = compared_to_wire([found("a"), found("b", 120)])
    figures = wire["figures"][0]["metrics"]["accuracy"]
    assert "difference" not in figures["a"]
    assert figures["b"]["difference"]["value"] == pytest.approx(-0.15)
    low, high = figures["b"]["difference"]["interval"]
    assert low < -0.15 < high < 0
    assert wire["warnings"] == []
    lines = shown(found("a"), found("b", 120))
    assert "no setting differs" in lines
    assert any(line.startswith("b 0.600 0.550–0.650 -0.150 -0.") and line.endswith(" worse") for line in lines)


def test_figures_of_other_rows_stand_apart_with_a_warning() -> None:
    lines = shown(found("a"), found("b", rows="others"), found("c"))
    assert "warning: the test rows are not the same, so that figures are not compared between: a and c; b" in " ".join(lines)
    assert lines.count("figures on the same 200 test rows") == 1
    assert "figures of b on 200 test rows" in lines
    assert not any(line.startswith("b 0.750") and len(line.split()) > 3 for line in lines), "a figure with its interval alone"


def without_digest(name: str) -> FoundRun:
    run = found(name, None)
    assert run.report is not None
    return replace(run, report={**run.report, "data": {}})


def test_runs_that_do_not_say_what_their_test_rows_are_stand_each_alone() -> None:
    wire = compared_to_wire([without_digest("a"), without_digest("b"), found("c"), found("d")])
    assert [group["runs"] for group in wire["figures"]] == [["a"], ["b"], ["c", "d"]]
    assert [warning.partition(" has a report of an earlier version")[0] for warning in wire["warnings"]] == ["a", "b"]
    lines = shown(without_digest("a"), without_digest("b"))
    assert [line for line in lines if line.startswith("figures")] == ["figures of a on 200 test rows", "figures of b on 200 test rows"]


def test_brackets_of_users_are_shown_as_they_are() -> None:
    phrases = {"operations": [{"wordSwap": {}}], "protected": ["[INST]", "[/INST]"]}
    lines = shown(found("[red]a[/b]"), found("[/c]", augmentation=phrases))
    assert any(line.startswith("setting [red]a[/b]") and line.endswith("[/c]") for line in lines)
    assert all(phrase in "".join(lines) for phrase in ('"[INST]"', '"[/INST]"'))
    assert sum(line.startswith("[red]a[/b] ") for line in lines) == 2, "figures, and how training went"


def test_figures_of_a_newer_version_are_left_out_with_a_warning() -> None:
    run = found("b")
    assert run.report is not None
    run = replace(run, report={**run.report, "final": {"insight": {"value": 1.0, "interval": None}, **run.report["final"]}})
    run = replace(run, lines=[{"step": 1, "validation/insight": 0.5}, *run.lines])
    lines = shown(found("a"), run)
    assert "warning: b has figures of a newer version, which are left out: insight" in lines
    assert any(line.startswith("b 0.750") for line in lines)
    assert validated_figure([replace(run, report=None)]) is MetricName.ACCURACY


def test_control_runs_that_failed_are_named() -> None:
    run = found("b")
    failed = [{"name": "dropout", "failed": "step 3: loss nan"}]
    curve = [{"name": "25 % of the rows", "share": 0.25, "failed": "step 4: loss nan"}, {"rows": 200, "share": 1.0}]
    lines = shown(found("a"), replace(run, report={**(run.report or {}), "ablations": failed, "dataCurve": curve}))
    assert "warning: b has no figures of its control run dropout: step 3: loss nan" in lines
    assert "warning: b has no figures of its control run 25 % of the rows: step 4: loss nan" in " ".join(lines)


def test_without_the_rows_behind_them_figures_have_no_paired_difference() -> None:
    lines = " ".join(shown(found("a"), found("b", None)))
    assert "b has no measurement.json that can be read: without it a difference has no interval, only each figure has" in lines
    assert "difference: to" not in lines


def test_a_run_under_way_is_shown_as_far_as_it_is() -> None:
    running = FoundRun("b", train_config().lineage(), {}, False, lines=LINES[:3])
    lines = shown(found("a"), running)
    assert "warning: b is not finished: 3 steps until now" in lines
    assert "b 3 - - - - -" in lines
    assert "a 6 2.00 4 0.5000 12.0 30.0" in lines


def test_many_runs_are_called_by_letters() -> None:
    lines = shown(*(found(f"runs/of-a-long-name-{number}") for number in range(3)))
    assert lines[:3] == [f"{letter} runs/of-a-long-name-{number}" for number, letter in enumerate("ABC")]
    assert any(line.startswith("B 0.750") for line in lines)


def test_the_curves_are_drawn_with_a_legend_of_the_runs(tmp_path: Path) -> None:
    runs = [found("first"), FoundRun("second", {}, {}, False, lines=LINES[:3])]
    metric = validated_figure(runs)
    assert metric is MetricName.ACCURACY
    draw(runs, metric, tmp_path / "curves.svg")
    draw(runs, metric, tmp_path / "curves.png")
    text = (tmp_path / "curves.svg").read_text()
    for words in ("first", "second (not finished)", "training loss", "Accuracy, validation", "step"):
        assert f">{words}</text>" in text
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width == 1200
        colors = {color for _, color in picture.convert("RGB").getcolors(2**24) or []}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colors, "a line of each run"


def test_names_of_folders_are_no_formulas_in_the_legend(tmp_path: Path) -> None:
    runs = [FoundRun(name, {}, {}, True, lines=LINES) for name in ("$a$", "_b")]
    draw(runs, None, tmp_path / "curves.svg")
    text = (tmp_path / "curves.svg").read_text()
    assert ">$a$</text>" in text
    assert "_b</text>" in text


def test_without_validations_the_training_loss_alone_is_drawn(tmp_path: Path) -> None:
    runs = [FoundRun(name, {}, {}, True, lines=[{"step": 1, "trainLoss": 2.0}, {"step": 2, "trainLoss": 1.0}]) for name in "ab"]
    assert validated_figure(runs) is None
    draw(runs, None, tmp_path / "curves.svg")
    assert "validation" not in (tmp_path / "curves.svg").read_text()


def test_noise_of_single_steps_is_averaged() -> None:
    steps, values = smoothed(list(range(1, 1001)), [float(step % 2) for step in range(1, 1001)])
    assert len(steps) == 50
    assert set(values) == {0.5}
    assert smoothed([1, 2], [3.0, 4.0]) == ([1, 2], [3.0, 4.0])
