"""The table of control runs says what a part did in the words of its own figure, and fits a terminal."""

import io
from typing import Any

from rich.console import Console

from trainer.reporting.rendereffects import render_effects


def rendered(report: dict[str, Any]) -> list[str]:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render_effects({"judgedBy": "accuracy", **report}))
    return [line.rstrip() for line in console.export_text().splitlines()]


def effect(name: str, difference: float, interval: list[float], verdict: str) -> dict[str, Any]:
    figure = {"main": 0.7, "control": 0.7 - difference, "difference": difference, "interval": interval, "verdict": verdict}
    return {"name": name, "metrics": {"accuracy": figure}}


def test_each_part_has_its_difference_and_what_that_means() -> None:
    lines = rendered(
        {
            "ablations": [
                effect("dropout", 0.05, [0.01, 0.09], "better"),
                effect("weightDecay", -0.05, [-0.09, -0.01], "worse"),
                effect("augmentation", 0.01, [-0.01, 0.03], "no clear difference"),
                effect("earlyStopping", 0.0, [0, 0], "no clear difference"),
            ]
        }
    )
    last = {name: next(line for line in lines if name in line).split("  ")[-1].strip() for name in ("dropout", "weightDecay")}
    assert last == {"dropout": "helped", "weightDecay": "hurt"}
    assert next(line for line in lines if "augmentation" in line).endswith("unclear")
    assert next(line for line in lines if "earlyStopping" in line).endswith("no effect")
    assert "unclear: the 95 % interval of the difference includes 0" in lines


def test_what_unclear_means_is_not_said_where_nothing_is() -> None:
    lines = rendered({"ablations": [effect("dropout", 0.05, [0.01, 0.09], "better")]})
    assert not any(line.startswith("unclear") for line in lines)


def test_control_runs_that_failed_have_a_line_and_their_reason() -> None:
    point = {"rows": 1500, "share": 1.0, "metrics": {"accuracy": {"value": 0.5, "interval": [0.4, 0.6]}}, "steps": 12, "seconds": None}
    failed = {"name": "25 % of the rows", "share": 0.25, "failed": "step 4: [loss] nan"}
    lines = rendered({
        "ablations": [{"name": "dropout", "failed": "step 3: [/loss] nan"}, effect("weightDecay", -0.05, [-0.09, -0.01], "worse")],
        "dataCurve": [failed, point], "dataCurveSays": "nothing",
    })  # fmt: skip
    assert next(line for line in lines if "dropout" in line).split() == ["dropout", "-", "-", "-", "failed"]
    assert "warning: no figures of dropout, whose run failed: step 3: [/loss] nan" in lines
    assert next(line for line in lines if "25 %" in line).split() == ["-", "25", "%", "failed", "-", "-"]
    assert "warning: no figures of 25 % of the rows, whose run failed: step 4: [loss] nan" in lines
    assert any("hurt" in line for line in lines)


def test_the_curve_of_rows_has_each_share_and_its_sentence() -> None:
    point = {"rows": 1500, "share": 0.25, "metrics": {"accuracy": {"value": 0.5, "interval": [0.4, 0.6]}}, "steps": 12, "seconds": None}
    lines = rendered({"dataCurve": [point], "dataCurveSays": "more rows still help"})
    row = next(line for line in lines if "1,500" in line)
    assert "25 %" in row
    assert row.split()[-1] == "-"
    assert "more rows still help" in lines
