"""Renders what `finetune compare` found for a terminal. Pure. Test: tests/trainer/reporting/test_compared.py."""

import json
import string
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from finetune.api.metrics import METRICS, MetricFacts, MetricName, Verdict

WIDEST_NAME, MOST_NAMES = 12, 4
"""Names of runs that tables have room for."""
SHORT = {Verdict.BETTER: "better", Verdict.WORSE: "worse", Verdict.UNCLEAR: "unclear"}


def render_compared(found: Mapping[str, Any]) -> RenderableType:
    """Return warnings, the settings that differ, the figures on the same test rows, and how training went."""
    called = _called(list(found["runs"]))
    parts: list[RenderableType] = [Text(f"{short}  {name}") for name, short in called.items() if short != name]
    parts += [Text(f"warning: {warning}") for warning in found["warnings"]]
    parts += [_settings(found, called)] if found["settings"] else [Text("no setting differs")]
    parts += [table for group in found["figures"] for table in _figures(group, called)]
    parts.append(_training(found["runs"], called))
    return Group(*parts)


def _called(names: Sequence[str]) -> dict[str, str]:
    """Return what each run is called in the tables: its name, or letters where names would take the room of figures."""
    if max(map(len, names)) <= WIDEST_NAME and len(names) <= MOST_NAMES:
        return {name: name for name in names}
    return {name: string.ascii_uppercase[number] if number < 26 else f"R{number + 1}" for number, name in enumerate(names)}


def _settings(found: Mapping[str, Any], called: Mapping[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("setting", no_wrap=True)
    for heading in called.values():
        table.add_column(Text(heading), overflow="fold")
    for name, values in found["settings"].items():
        table.add_row(Text(name), *(Text(_value(values[run])) for run in found["runs"]))
    return table


def _value(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _figures(group: Mapping[str, Any], called: Mapping[str, str]) -> list[RenderableType]:
    """Return the figures, a block of lines for each metric: its name stands above, where it takes no width from the columns."""
    first = called[group["comparedWith"]]
    differences = any("difference" in figure for figures in group["metrics"].values() for figure in figures.values())
    headings = ["", "value", "95 % interval", *(["difference", "95 % interval", ""] if differences else [])]
    blocks: dict[str, list[list[str]]] = {}
    for name, figures in group["metrics"].items():
        if name not in METRICS:  # of a newer version; a warning has said so
            continue
        facts = METRICS[MetricName(name)]
        blocks[facts.heading + (" (lower is better)" if facts.lower_is_better else "")] = [
            [called[run], *_figure(figure, facts), *_difference(figure.get("difference"), facts)] for run, figure in figures.items()
        ]
    rows = [headings, *(row[: len(headings)] for block in blocks.values() for row in block)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(headings))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False))]
        return "   ".join(("  " + cells[0], *cells[1:])).rstrip()

    lines = [Text(line(headings), style="bold")]
    for heading, block in blocks.items():
        lines += [Text(heading, style="bold"), *(Text(line(row)) for row in block)]
    whose = "figures on the same" if len(group["runs"]) > 1 else f"figures of {first} on"
    title = Text(f"{whose} {group['testRows']} test rows", style="italic")
    paired = Text(f"difference: to {first}, row by row; unclear: its interval includes 0")
    return [title, Text(), *lines, Text(), *([paired] if differences else [])]


def _figure(figure: Mapping[str, Any], facts: MetricFacts) -> tuple[str, str]:
    return _number(figure["value"], facts), _interval(figure["interval"], facts)


def _difference(found: Mapping[str, Any] | None, facts: MetricFacts) -> tuple[str, str, str]:
    if found is None or found.get("value") is None:
        return "", "", ""
    interval = found.get("interval")
    ends = " to ".join(f"{end:+,.{facts.decimals}f}" for end in interval) if interval else ""
    return f"{found['value']:+,.{facts.decimals}f}", ends, SHORT[Verdict(found["verdict"])] if "verdict" in found else ""


def _training(runs: Mapping[str, Mapping[str, Any]], called: Mapping[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("run", "steps", "epochs", "best", "loss", "s in steps", "s in all"):
        table.add_column(heading, justify="left" if heading == "run" else "right", no_wrap=True)
    for name, run in runs.items():
        early = ", early" if run["stoppedEarly"] else ""
        table.add_row(
            Text(called[name]), f"{run['steps']:,}{early}", _plain(run["epochs"], 2), _plain(run["bestStep"], 0),
            _plain(run["trainLoss"], 4), _plain(run["trainingSeconds"], 1), _plain(run["seconds"], 1),
        )  # fmt: skip
    return table


def _plain(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:,.{decimals}f}"


def _interval(interval: Sequence[float] | None, facts: MetricFacts) -> str:
    return "–".join(_number(end, facts) for end in interval) if interval else ""


def _number(value: float | None, facts: MetricFacts) -> str:
    return "-" if value is None else f"{value:,.{facts.decimals}f}"
