"""Renders what control runs show for a terminal. Reads only the report. Pure. Test: tests/trainer/reporting/test_rendereffects.py."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from finetune.api.metrics import METRICS, MetricFacts, MetricName, Verdict

SHORT = {Verdict.BETTER: "helped", Verdict.WORSE: "hurt", Verdict.UNCLEAR: "unclear"}
"""What a part did to a figure, so that a table fits a terminal."""
CALLED = {"domainAdaptation": "adaptation"}
"""Names that are too long for a table of 80 columns."""
SAME = "no effect"
"""Both models answer every row alike, as where early stopping never acted and the last weights were the best."""

FAILED = "failed"
"""The control run has no figures."""


def render_effects(report: Mapping[str, Any]) -> RenderableType:
    """Return a table of what each part brought, and one of the figures on shares of the rows with what they say."""
    parts: list[RenderableType] = []
    if report.get("ablations"):
        judged = MetricName(report["judgedBy"])
        what = f"{METRICS[judged].heading} on the same test rows, with each part and without it"
        parts += [Text(what, style="italic"), _effects(report), *_failures(report["ablations"])]
        figures = [effect.get("metrics", {}).get(judged, {}) for effect in report["ablations"]]
        if any(_word(found) == SHORT[Verdict.UNCLEAR] for found in figures):
            parts.append(Text("unclear: the 95 % interval of the difference includes 0"))
    if report.get("dataCurve"):
        parts += [Text("Effect of more training rows", style="italic"), _curve(report)]
        parts += [*_failures(report["dataCurve"]), Text(report["dataCurveSays"])]
    return Group(*parts)


def _failures(entries: Sequence[Mapping[str, Any]]) -> list[Text]:
    return [Text(f"warning: no figures of {entry['name']}, whose run failed: {entry['failed']}") for entry in entries if "failed" in entry]


def _effects(report: Mapping[str, Any]) -> Table:
    table, judged = Table(box=box.SIMPLE_HEAD), MetricName(report["judgedBy"])
    facts = METRICS[judged]
    for heading in ("part", "without", "with", "difference", "95 % interval", ""):
        table.add_column(heading, justify="left" if heading == "part" else "right", no_wrap=True)
    names = {source["field"]: source["name"] for source in report.get("data", {}).get("sources", ())}
    for effect in report["ablations"]:
        found = effect.get("metrics", {}).get(judged, {})
        parts = found.get("sources", {})
        shown = [names.get(source, source) for source in parts]
        table.add_row(*_row(CALLED.get(effect["name"], effect["name"]), found, facts, failed="failed" in effect))
        for source, part in parts.items():
            name = names.get(source, source)
            table.add_row(*_row(f"  {name if shown.count(name) == 1 else source}", part, facts))
    return table


def _row(heading: str, found: Mapping[str, Any], facts: MetricFacts, *, failed: bool = False) -> list[str | Text]:
    difference = found.get("difference")
    return [
        Text(heading),
        *(_number(found.get(side), facts) for side in ("control", "main")),
        "-" if difference is None else f"{difference:+,.{facts.decimals}f}",
        _interval(found.get("interval"), facts, signed=True),
        Text(FAILED if failed else _word(found)),
    ]


def _word(found: Mapping[str, Any]) -> str:
    if found.get("interval") == [0, 0]:
        return SAME
    return SHORT[Verdict(found["verdict"])] if "verdict" in found else ""


def _curve(report: Mapping[str, Any]) -> Table:
    table, facts = Table(box=box.SIMPLE_HEAD), METRICS[MetricName(report["judgedBy"])]
    for heading in ("rows", "share", facts.heading, "95 % interval", "steps", "seconds"):
        table.add_column(heading, justify="right")
    for point in report["dataCurve"]:
        if "failed" in point:
            table.add_row("-", f"{100 * point['share']:g} %", FAILED, "", "-", "-")
            continue
        figure = point["metrics"].get(report["judgedBy"], {})
        seconds = point["seconds"]
        table.add_row(
            f"{point['rows']:,}", f"{100 * point['share']:g} %", _number(figure.get("value"), facts),
            _interval(figure.get("interval"), facts), f"{point['steps']:,}", "-" if seconds is None else f"{seconds:,.0f}",
        )  # fmt: skip
    return table


def _interval(interval: Sequence[float] | None, facts: MetricFacts, *, signed: bool = False) -> str:
    if not interval:
        return ""
    if signed:
        return " to ".join(f"{end:+,.{facts.decimals}f}" for end in interval)
    return "–".join(_number(end, facts) for end in interval)


def _number(value: float | None, facts: MetricFacts) -> str:
    return "-" if value is None else f"{value:,.{facts.decimals}f}"
