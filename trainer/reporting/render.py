"""Renders a report for a terminal: base and tuned model side by side, then prompts answered by both.

Reads only the report, so that it can show one written earlier. Pure. Test: tests/trainer/reporting/test_render.py.
"""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from finetune.api.metrics import METRICS, MetricFacts, MetricName

MAX_SAMPLES = 3
SAMPLE_LINES = (("prompt", "prompt", "bold"), ("base", "base", "yellow"), ("tuned", "tuned", "green"), ("reference", "expected", "dim"))
PERCENT_MAX = 1000
"""From ten times the base on, a percentage is a long number that depends on how small the base happened to be."""


def render_table(report: Mapping[str, Any]) -> RenderableType:
    """Return the metrics of base and tuned model side by side, remarks on them, and up to `MAX_SAMPLES` prompts with both answers."""
    # Not the table's own title, which would wrap at the width of the table.
    parts: list[RenderableType] = [
        Text(_title(report), style="italic"),
        metrics_table(report),
        *(Text(remark) for remark in remarks(report)),
    ]
    for sample in report.get("samples", [])[:MAX_SAMPLES]:
        parts += [_sample(sample), Text()]
    return Group(*parts)


def metrics_table(report: Mapping[str, Any]) -> Table:
    """Return the table; arrows show the direction of change, their color whether it is better. ValueError for an unknown metric."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("metric", "base", "tuned", "change", ""):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for name, base in report["baseline"].items():
        facts = METRICS[MetricName(name)]
        tuned = report["final"].get(name, {}).get("value")
        figures = (_number(base["value"], facts.decimals), _number(tuned, facts.decimals))
        table.add_row(
            facts.heading + (" (lower is better)" if facts.lower_is_better else ""), *figures, *_change(base["value"], tuned, facts)
        )
    return table


def remarks(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each undefined figure, with the reason, and one for answers cut by the token limit."""
    lines = []
    for name, base in report["baseline"].items():
        heading = METRICS[MetricName(name)].heading
        reasons = {"base": base.get("reason"), "tuned": report["final"].get(name, {}).get("reason")}
        if reasons["base"] == reasons["tuned"] and reasons["base"]:
            lines.append(f"{heading} is left out: {reasons['base']}")
        else:
            lines += [f"{heading} of the {model} model is left out: {reason}" for model, reason in reasons.items() if reason]
    answers = report.get("answers")
    if answers and (answers["baseline"]["cut"] or answers["final"]["cut"]):
        base, tuned = (f"{answers[model]['cutShare']:.0%}" for model in ("baseline", "final"))
        lines.append(f"Answers cut at {answers['maxNewTokens']} new tokens: {base} of the base model's, {tuned} of the tuned model's")
    return lines


def _title(report: Mapping[str, Any]) -> str:
    rows = report.get("rows", {})
    return (
        f"{report['model']['name']}: base against tuned ({rows.get('evaluated', 0)} test rows, {rows.get('generated', 0)} of them answered)"
    )


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:,.{decimals}f}"


def _change(base: float | None, tuned: float | None, facts: MetricFacts) -> tuple[Text, Text]:
    """Return the change and the same in percent, a cell each, so that figures without a percentage stay in line."""
    if base is None or tuned is None:
        return Text("-"), Text()
    difference = round(tuned - base, facts.decimals)
    if not difference:
        return Text("="), Text()
    style = "green" if facts.is_better(difference, 0) else "red"
    change = f"{'▼' if difference < 0 else '▲'} {difference:+,.{facts.decimals}f}"
    return Text(change, style=style), Text(_percentage(base, tuned, facts.decimals), style=style)


def _percentage(base: float, tuned: float, decimals: int) -> str:
    """Return the change in percent of the base; empty where it says nothing.

    That is the case when the base is shown as zero, when the change is ten times the base or more, and when -100 % would stand
    beside a figure that is not zero.
    """
    if round(base, decimals) <= 0:
        return ""
    percent = round((tuned / base - 1) * 100)
    vanished = percent <= -100 and round(tuned, decimals) != 0
    return "" if percent >= PERCENT_MAX or vanished else f"{percent:+d} %"


def _sample(sample: Mapping[str, str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for key, heading, style in SAMPLE_LINES:
        grid.add_row(Text(heading, style="bold"), Text(sample.get(key) or "(empty)", style=style))
    return grid
