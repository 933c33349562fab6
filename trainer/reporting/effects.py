"""What control runs show: a job's own run beside one without a part of it, and what more rows bring. As report.json has it.

Differences are paired: both models have answered the same test rows. Pure. Test: tests/trainer/reporting/test_effects.py.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from finetune.api.metrics import METRICS, MetricName, Verdict
from trainer.evaluation.comparison import Comparison, Difference, certainty_of, compare
from trainer.evaluation.measured import Measured

Point = tuple[Mapping[str, Any], float, Measured]
"""The report of a run, the share of the rows that it has learned, and what was measured."""


class OtherRowsError(ValueError):
    """Two runs were measured on other test rows, and cannot be compared."""


def effect_to_wire(name: str, without: Mapping[str, Any], main: Measured, control: Measured, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a part of a job brought: its own run against the control run, whose `report` is given; `without` are its settings."""
    return {
        "name": name,
        "without": dict(without),
        "metrics": differences_to_wire(control, main, ("control", "main")),
        "steps": report["training"]["steps"],
        "seconds": _seconds(report),
    }


def differences_to_wire(before: Measured, after: Measured, called: tuple[str, str]) -> dict[str, Any]:
    """Return, by metric, both values and the difference after - before with its paired 95 % interval; OtherRowsError on other rows."""
    if before.rows != after.rows:
        raise OtherRowsError("the test rows of the two runs are not the same")
    found = compare(before.tuned, after.tuned)
    left, right = before.tuned.values(), after.tuned.values()
    return {
        name.value: _values(left[name], right[name], called) | _certainty(found.difference.get(name)) | _by_source(found, name, called)
        for name in right
        if name in left
    }


def _values(before: float, after: float, called: tuple[str, str]) -> dict[str, Any]:
    return {called[0]: _finite(before), called[1]: _finite(after), "difference": _finite(after - before)}


def _by_source(found: Comparison, name: MetricName, called: tuple[str, str]) -> dict[str, Any]:
    """Return the same of the rows of each data source, if there are several, as where a job is tested on two domains."""
    parts = {source: (part.value, found.tuned[name].sources[source].value) for source, part in found.base[name].sources.items()}
    sources = {
        source: _values(before, after, called) | _certainty(found.by_source.get(name, {}).get(source))
        for source, (before, after) in parts.items()
        if before is not None and after is not None
    }
    return {"sources": sources} if sources else {}


def _certainty(found: Difference | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {"interval": [found.interval.low, found.interval.high], "pValue": found.p_value, "verdict": found.verdict.value}


def curve_to_wire(points: Sequence[Point], judged_by: str, *, same_steps: bool) -> tuple[list[dict[str, Any]], str]:
    """Return the figures of runs on more and more of the rows, the last of which has all, and a sentence on what more would bring.

    `same_steps`: all have trained for so many steps, and not for so many passes over their rows.
    """
    curve = []
    for report, share, measured in points:
        certain = certainty_of(measured.tuned)
        metrics = {
            name.value: {"value": _finite(value), "interval": [found.low, found.high] if (found := certain[name].interval) else None}
            for name, value in measured.tuned.values().items()
        }
        trained = report["training"]
        curve.append({
            "rows": report["data"]["train"], "share": share, "metrics": metrics, "steps": trained["steps"], "epochs": trained["epochs"],
            "seconds": _seconds(report),
        })  # fmt: skip
    if len(points) < 2:
        return curve, "Only the run on all rows has figures, so the effect of more rows is unknown."
    half, whole = points[-2], points[-1]
    slope = differences_to_wire(half[2], whole[2], ("before", "after")).get(judged_by)
    return curve, _sentence(MetricName(judged_by), slope, curve[-2]["rows"], curve[-1]["rows"], same_steps=same_steps)


def _sentence(metric: MetricName, slope: Mapping[str, Any] | None, before: int, after: int, *, same_steps: bool) -> str:
    facts, kept = METRICS[metric], "steps" if same_steps else "epochs"
    begin = f"From {before} to {after} training rows, for the same number of {kept},"
    if slope is None or slope["difference"] is None:
        return f"{begin} {facts.heading} cannot be compared: it is undefined for one of the two."
    change = f"{begin} {facts.heading} changed by {slope['difference']:+.{facts.decimals}f}"
    if "interval" not in slope:
        return f"{change}; there are too few test rows to tell whether more rows help."
    low, high = (f"{end:+.{facts.decimals}f}" for end in slope["interval"])
    interval = f" (95 % interval {low} to {high})"
    if slope["verdict"] == Verdict.BETTER:
        return f"{change}{interval}: more rows still help."
    if slope["verdict"] == Verdict.WORSE:
        return f"{change}{interval}: more rows made it worse, which points to rows that contradict each other or to too short a training."
    return f"{change}{interval}: it is unclear whether more rows would help: the interval includes 0."


def _seconds(report: Mapping[str, Any]) -> float | None:
    timings = report.get("timings")
    return None if timings is None else round(timings["seconds"], 1)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
