"""The tables of a model card, in Markdown: figures of base and tuned model, rows, and settings, from the run's report.

Whatever a report lacks is left out: a run that was stopped has no figures. Pure. Test: tests/trainer/model/test_cardtables.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from finetune.api.metrics import METRICS, MetricFacts, MetricName
from finetune.api.results import PREDICTIONS

Report = Mapping[str, Any]
"""As in report.json, as far as it is known."""
SIDES = {"data.train": "training", "data.validation": "validation", "data.test": "test"}
FEW_ROWS = 100
"""With fewer test rows a figure can be off by more than most differences that people look for."""


def figures_section(report: Report) -> str:
    """Return base against tuned on the test rows, how each figure was computed, and what limits them; "" without figures."""
    shown = [name for name, figure in report.get("final", {}).items() if figure["value"] is not None]
    if not shown:
        return ""
    columns = [column for column in ("unchanged", "baseline", "final") if report.get(column)]
    headings = {"unchanged": "unchanged", "baseline": "base", "final": "tuned"}
    head = ["metric", *(headings[column] for column in columns), "95 % interval", "rows", "better when", "tuned against base"]
    rows = [_figure_row(report, MetricName(name), columns) for name in shown]
    signatures = [
        f"- {METRICS[MetricName(name)].heading}: `{signature}`" for name in shown if (signature := _of(report, name, "signature"))
    ]
    return _joined([
        "## How good it is",
        f"Measured on {report['rows']['evaluated']} test rows, base and tuned model alike{_generated(report)}.",
        table(head, rows),
        "Unchanged: the text of each row as it was given, without any model." if "unchanged" in columns else "",
        "How each figure was computed:" if signatures else "",
        "\n".join(signatures),
        _predictions(report),
        limits(report, shown),
    ])  # fmt: skip


def limits(report: Report, shown: Sequence[str]) -> str:
    """Return what these figures do not say."""
    rows = report["rows"]["evaluated"]
    lines = ["They are of this job's own test rows: other texts may be easier or harder. Safety, bias and speed were not measured."]
    if rows < FEW_ROWS:
        certain = any(_of(report, name, "interval") for name in shown)
        see = "see the intervals, which are of the rows alone, not of another training" if certain else "too few for intervals"
        lines.append(f"{rows} test rows are few: {see}.")
    lines += [
        f"{METRICS[MetricName(name)].heading} was not measured: {figure['reason']}."
        for name, figure in report["final"].items()
        if name not in shown and figure.get("reason")
    ]
    return _joined(["## Limits", "\n".join(f"- {line}" for line in lines)])


def rows_section(report: Report) -> str:
    """Return what the rows were, with their digests; "" where nothing is known of them."""
    data = report.get("data", {})
    found = [
        (words, _sources(data, field), data.get(field.removeprefix("data."), ""), digest)
        for field, words in SIDES.items()
        if (digest := data.get("digests", {}).get(field, "")) and data.get(field.removeprefix("data."), 1)
    ]
    if not found:
        return ""
    rows = [[words, sources or "part of the training sources", str(count), f"`{digest}`"] for words, sources, count, digest in found]
    return _joined(["## What it was trained on", table(["rows", "from", "number", "sha256 of what they hold"], rows)])


def settings_section(report: Report) -> str:
    """Return the settings that took effect, by the names that a job has for them; "" where none are known."""
    rows = [[f"`{name}`", _cell(value)] for name, value in _leaves(report.get("hyperparameters", {}))]
    if not rows:
        return ""
    training = report.get("training")
    trained = "" if training is None else (
        f"{training['steps']} steps, {training['epochs']:g} passes over the rows, {training['tokensSeen']:,} tokens,"
        f" {training['trainableParameters']:,} trained parameters. The weights are those of step {report['measuredStep']}."
    )  # fmt: skip
    versions = ", ".join(f"{name} {version}" for name, version in report.get("versions", {}).items())
    return _joined(["## How it was trained", trained, table(["setting", "value"], rows), f"With {versions}." if versions else ""])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)


def _figure_row(report: Report, name: MetricName, columns: Sequence[str]) -> list[str]:
    facts, figure = METRICS[name], report["final"][name]
    interval = figure.get("interval")
    return [
        facts.heading,
        *(_shown(facts, report[column].get(name, {}).get("value")) for column in columns),
        f"{facts.shown(interval[0])} to {facts.shown(interval[1])}" if interval else "",
        str(figure.get("rows", "")),
        str(facts.direction),
        report["change"].get(name, {}).get("verdict", ""),
    ]


def _shown(facts: MetricFacts, value: float | None) -> str:
    return "" if value is None else facts.shown(value)


def _of(report: Report, name: str, key: str) -> Any:
    return report["final"][name].get(key)


def _generated(report: Report) -> str:
    """Say how many rows were answered in text, and how long answers could be."""
    answers, count = report.get("answers"), report["rows"]["generated"]
    if not answers:
        return ""
    return f"; {count} of them answered in text, always the likeliest token, of at most {answers['maxNewTokens']} tokens"


def _predictions(report: Report) -> str:
    found = report.get("predictions")
    return (
        f"What both models said about each of {found['rows']} rows is in `{PREDICTIONS}` beside the run's `report.json`." if found else ""
    )


def _sources(data: Report, field: str) -> str:
    found = [source for source in data.get("sources", []) if source["field"].startswith(f"{field}[")]
    return ", ".join(f"{source['name']} ({source['languages']})" if source.get("languages") else source["name"] for source in found)


def _leaves(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        elif value is not None and value != []:
            yield f"{above}{name}", value


def _cell(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _joined(parts: Sequence[str]) -> str:
    return "\n\n".join(part for part in parts if part)
