"""Renders a report for a terminal: base and tuned model side by side, then prompts answered by both.

Reads only the report, so that it can show one written earlier. Pure. Test: tests/trainer/reporting/test_render.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from finetune.api.metrics import METRICS, MetricFacts, MetricName, Verdict
from trainer.reporting.corpus import corpus_lines
from trainer.reporting.guessing import LIKELIHOODS, guesses
from trainer.reporting.steering import steering_remarks

MAX_SAMPLES = 3
SAMPLE_LINES = (("prompt", "prompt", "bold"), ("base", "base", "yellow"), ("tuned", "tuned", "green"), ("reference", "expected", "dim"))
SHORT = {Verdict.BETTER: "better", Verdict.WORSE: "worse", Verdict.UNCLEAR: "unclear"}
"""Verdicts, so that a table fits a terminal."""
TEXT_HEADINGS = {
    f"{side}{word}": f"{side.capitalize()} {heading}"
    for word, heading in (("Perplexity", "perplexity"), ("PseudoPerplexity", "pseudo-perplexity"))
    for side in ("general", "domain")
}
"""Of plain texts, by their names in a report."""
GUESSED = "The base model's figures of texts are those of guessing, so they do not show what was learned or forgotten."
PERCENT_MAX = 1000
"""From ten times the base on, a percentage is a long number that depends on how small the base happened to be."""


def render_table(report: Mapping[str, Any]) -> RenderableType:
    """Return the metrics of base and tuned model side by side, remarks on them, and up to `MAX_SAMPLES` prompts with both answers."""
    # Not the table's own title, which would wrap at the width of the table.
    parts: list[RenderableType] = [
        Text(_title(report), style="italic"),
        metrics_table(report) if "baseline" in report else figures_table(report),
        *(Text(remark) for remark in remarks(report)),
    ]
    for sample in report.get("samples", [])[:MAX_SAMPLES]:
        parts += [_sample(sample), Text()]
    return Group(*parts)


def metrics_table(report: Mapping[str, Any]) -> Table:
    """Return the table; arrows show the direction of change, their color whether it is better. ValueError for an unknown metric."""
    table = Table(box=box.SIMPLE_HEAD)
    judged = any(change.get("verdict") for change in report["change"].values())
    before = report.get("unchanged")  # of tasks that improve a text
    headings = ["metric", *(["unchanged"] if before else []), "base", "tuned", "95 % interval" if judged else "", "change", "", ""]
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for name, base in report["baseline"].items():
        facts = METRICS[MetricName(name)]
        tuned = report["final"].get(name, {}).get("value")
        values = [*([before.get(name, {}).get("value")] if before else []), base["value"], tuned]
        figures = [_number(value, facts.decimals) for value in values]
        certainty = _interval(report["final"].get(name, {}).get("interval"), facts)
        guessed = name in LIKELIHOODS and guesses(report)
        verdict = None if guessed else report["change"].get(name, {}).get("verdict")
        change: tuple[str | Text, str | Text] = ("", "") if guessed else _change(base["value"], tuned, facts, verdict)
        table.add_row(
            facts.heading + (" (lower is better)" if facts.lower_is_better and not judged else ""),
            *figures, Text(certainty), *change, Text(SHORT[Verdict(verdict)] if verdict else ""),
        )  # fmt: skip
        if name == report.get("judgedBy"):
            for row in source_rows(report, facts, unchanged=bool(before), guessed=guessed):
                table.add_row(*row)
    for row in text_rows(report.get("domainAdaptation"), unchanged=bool(before), judged=judged):
        table.add_row(*row)
    return table


def source_rows(report: Mapping[str, Any], facts: MetricFacts, *, unchanged: bool, guessed: bool = False) -> list[list[str | Text]]:
    """Return a row for each data source of the test rows, if there are several: what the job is judged by, on its rows alone."""
    base, tuned = (report[side].get(facts.name, {}).get("sources", {}) for side in ("baseline", "final"))
    changes, found = report["change"].get(facts.name, {}).get("sources", {}), list[list[str | Text]]()
    names = {source["field"]: source["name"] for source in report.get("data", {}).get("sources", ())}
    shown = [names.get(source, source) for source in tuned]
    for source, part in tuned.items():
        name = names.get(source, source)
        heading = f"  {name if shown.count(name) == 1 else source}"
        before, verdict = base.get(source, {}).get("value"), None if guessed else changes.get(source, {}).get("verdict")
        numbers = [*([""] if unchanged else []), *(_number(value, facts.decimals) for value in (before, part["value"]))]
        change: tuple[str | Text, str | Text] = ("", "") if guessed else _change(before, part["value"], facts, verdict)
        found.append(
            [
                Text(heading),
                *numbers,
                Text(_interval(part.get("interval"), facts)),
                *change,
                Text(SHORT[Verdict(verdict)] if verdict else ""),
            ]
        )
    return found


def text_rows(adapted: Mapping[str, Any] | None, *, unchanged: bool, judged: bool) -> list[list[str | Text]]:
    """Return the table's rows of plain texts; those of the test rows are the task's own figures, which have rows already."""
    facts, found = METRICS[MetricName.PERPLEXITY], list[list[str | Text]]()
    for key, side in (adapted or {}).items():
        if key not in TEXT_HEADINGS or not side or side.get("texts") == "data.test":
            continue
        # Of perplexity, as the line below says: the whole name would not fit 80 columns.
        heading = f"{key.removesuffix('Perplexity').removesuffix('Pseudo').capitalize()} texts" + ("" if judged else " (lower is better)")
        numbers = [*([""] if unchanged else []), *(_number(side.get(name), facts.decimals) for name in ("before", "after"))]
        verdict = side.get("verdict")
        # Better than guessing is no gain.
        change = ("", "") if side.get("beforeIsGuessing") else _change(side.get("before"), side.get("after"), facts, verdict)
        found.append([heading, *numbers, Text(_interval(side.get("interval"), facts)), *change, Text(SHORT.get(verdict, ""))])
    return found


def text_lines(report: Mapping[str, Any]) -> list[str]:
    """Return what a table has no room for: the rise of general texts with its interval and budget, and the weights between."""
    adapted = report.get("domainAdaptation")
    if not adapted:
        return []
    sides = {key: adapted[key] for key in TEXT_HEADINGS if adapted.get(key)}
    lines = []
    if adapted.get("generalIncreasePercent") is not None:
        lines.append(_rise(adapted, adapted.get("corpus") or report.get("training") or {}))
    # Of other tasks than language-modeling the test rows are answers, which say what was learned and are no texts of the domain.
    named = {
        key: f"{TEXT_HEADINGS[key].removeprefix('Domain ')} of the test rows"
        if side.get("texts") == "data.test"
        else TEXT_HEADINGS[key].lower()
        for key, side in sides.items()
    }
    for point in adapted.get("sweep") or ():
        figures = [f"{name} {_number(point[key], 2)}" for key, name in named.items() if key in point]
        lines.append(f"Interpolated weights, {100 * point['position']:g} % tuned: {', '.join(figures)}")
    return lines


def _rise(adapted: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    heading = next((heading for key, heading in TEXT_HEADINGS.items() if key in adapted), "General perplexity")
    low_high, budget, exceeded = (adapted.get(name) for name in ("generalIncreaseInterval", "budgetPercent", "exceededAtStep"))
    interval = f" [{', '.join(f'{end:+.1f}' for end in low_high)}]" if low_high else ""
    bound = "" if budget is None else f", {'within' if adapted.get('withinBudget') else 'over'} the budget of {budget:g} %"
    stopped = "" if exceeded is None else f" training stopped at step {exceeded},"
    if exceeded is not None and exceeded == training.get("totalSteps"):
        stopped = f" exceeded at the last step ({exceeded}),"
    kept = "weights after the domain stage" if adapted.get("corpus") else "exported weights"
    return f"{heading}: {adapted['generalIncreasePercent']:+.1f} %{interval}{bound};{stopped} {kept}: step {adapted.get('chosenStep', '?')}"


def figures_table(report: Mapping[str, Any]) -> Table:
    """Return the table of a model that is compared with no other."""
    table = Table(box=box.SIMPLE_HEAD)
    before = report.get("unchanged")  # of tasks that improve a text
    for heading in ("metric", *(["unchanged"] if before else []), "value", "95 % interval"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for name, figure in report["final"].items():
        facts = METRICS[MetricName(name)]
        heading = facts.heading + (" (lower is better)" if facts.lower_is_better else "")
        given = [_number(before.get(name, {}).get("value"), facts.decimals)] if before else []
        table.add_row(heading, *given, _number(figure["value"], facts.decimals), Text(_interval(figure.get("interval"), facts)))
    return table


def remarks(report: Mapping[str, Any]) -> list[str]:
    """Return lines on undefined figures, groups of rows, how training went, differences that are unclear, and cut answers."""
    sides = {model: report[name] for name, model in (("baseline", "base"), ("final", "tuned")) if name in report}
    lines = []
    for name in dict.fromkeys(name for figures in sides.values() for name in figures):
        heading = METRICS[MetricName(name)].heading
        reasons = {model: figures.get(name, {}).get("reason") for model, figures in sides.items()}
        if len(set(reasons.values())) == 1 and reasons["tuned"]:
            lines.append(f"{heading} is left out: {reasons['tuned']}")
        else:
            lines += [f"{heading} of the {model} model is left out: {reason}" for model, reason in reasons.items() if reason]
    lines += _groups(report)
    lines += steering_remarks(report)
    lines += corpus_lines(report.get("domainAdaptation"))
    lines += text_lines(report)
    lines += [GUESSED] if _base_guesses(report) else []
    if any(change.get("verdict") == Verdict.UNCLEAR for change in report.get("change", {}).values()):
        lines.append(f"unclear: {Verdict.UNCLEAR}, the 95 % interval of the difference on the test rows includes 0")
    answers = report.get("answers") or {}
    shares = {model: answers[name]["cutShare"] for name, model in (("baseline", "base"), ("final", "tuned")) if name in answers}
    if any(shares.values()):
        parts = ", ".join(f"{share:.0%} of the {model} model's" for model, share in shares.items())
        lines.append(f"Answers cut at {answers['maxNewTokens']} new tokens: {parts}")
    return lines


def _base_guesses(report: Mapping[str, Any]) -> bool:
    """Return whether the report has likelihoods of a base model that guesses them."""
    sides = [side for key, side in (report.get("domainAdaptation") or {}).items() if key in TEXT_HEADINGS and side]
    own = guesses(report) and not LIKELIHOODS.isdisjoint(report.get("baseline", ()))
    return own or any(side.get("beforeIsGuessing") for side in sides)


def _groups(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each metric whose rows are in several groups, such as pairs of languages: its figures group by group."""
    lines = []
    for name, tuned in report["final"].items():
        facts, base = METRICS[MetricName(name)], report.get("baseline", {}).get(name, {}).get("groups", {})
        before = {group: f"{_number(part['value'], facts.decimals)} → " for group, part in base.items()}
        figures = [
            f"{group} {before.get(group, '')}{_number(part['value'], facts.decimals)}" for group, part in tuned.get("groups", {}).items()
        ]
        lines += [f"{facts.heading} by group: {', '.join(figures)}"] if figures else []
    return lines


def _title(report: Mapping[str, Any]) -> str:
    rows = report.get("rows", {})
    what = "base against tuned" if "baseline" in report else report["model"]["what"]
    answered = f", {rows['generated']} of them answered" if rows.get("generated") else ""
    name = report["model"].get("adaptedFrom") or report["model"]["name"]
    return f"{name}: {what} ({rows.get('evaluated', 0)} test rows{answered})"


def _interval(interval: Sequence[float] | None, facts: MetricFacts) -> str:
    # As narrow as it can be: the widest table has to fit 80 columns.
    return "–".join(_number(end, facts.decimals) for end in interval) if interval else ""


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:,.{decimals}f}"


def _change(base: float | None, tuned: float | None, facts: MetricFacts, verdict: str | None) -> tuple[Text, Text]:
    """Return the change and the same in percent, a cell each, so that figures without a percentage stay in line."""
    if base is None or tuned is None:
        return Text("-"), Text()
    difference = round(tuned - base, facts.decimals)
    if not difference:
        return Text("="), Text()
    style = "" if verdict == Verdict.UNCLEAR else "green" if facts.is_better(difference, 0) else "red"
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
        if key not in sample:  # the base of a model that is measured alone
            continue
        grid.add_row(Text(heading, style="bold"), Text(sample.get(key) or "(empty)", style=style))
    return grid
