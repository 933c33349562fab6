"""What `finetune compare` finds: settings that differ, figures on the same test rows with paired differences, and how training went.

Values in, one JSON document out. Pure. Test: tests/trainer/reporting/test_compared.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from finetune.api.earlier import in_words_of_today
from finetune.api.metrics import METRICS, MetricName
from finetune.api.trainconfig import TrainConfig
from trainer.evaluation.measured import Measured
from trainer.reporting.effects import differences_to_wire

FILLED = ("method", "training", "regularization", "evaluation")
"""Sections whose defaults are filled in: an earlier version may not have written those of later fields."""
VALIDATION = "validation/"


@dataclass(frozen=True)
class FoundRun:
    """What a run has left until now."""

    name: str
    """As people tell it from the others: the end of its path."""
    lineage: Mapping[str, Any]
    digests: Mapping[str, str]
    """sha256 of the contents of its files, by the field that names them."""
    finished: bool
    report: Mapping[str, Any] | None = None
    measured: Measured | None = None
    lines: Sequence[Mapping[str, Any]] = field(default=())
    """Those of metrics.jsonl."""

    @property
    def rows(self) -> str | None:
        """What tells its test rows from others; None before it has figures, and of a version that did not write it."""
        return None if self.report is None else self.report["data"].get("digests", {}).get("data.test")

    @property
    def steps(self) -> int:
        """Steps until now."""
        return max((int(line["step"]) for line in self.lines), default=0) if self.report is None else self.report["training"]["steps"]

    def curve(self, figure: str) -> list[tuple[int, float]]:
        """Return the points of a figure of metrics.jsonl: step and value."""
        return [(line["step"], line[figure]) for line in self.lines if line.get(figure) is not None]


def compared_to_wire(runs: Sequence[FoundRun]) -> dict[str, Any]:
    """Return everything that is known of the runs beside each other; figures are compared with those of the first of each group."""
    groups = _groups(runs)
    return {
        "runs": {run.name: _run(run) for run in runs},
        "settings": differing_settings(runs),
        "figures": [_figures(group) for group in groups],
        "warnings": _warnings(runs, groups),
    }


def _groups(runs: Sequence[FoundRun]) -> list[list[FoundRun]]:
    """Return the runs that have figures, those of the same test rows together; one whose rows are unknown is compared with no other."""
    groups: dict[str, list[FoundRun]] = {}
    for run in runs:
        if run.report is not None:
            groups.setdefault(f"of {run.name}" if run.rows is None else run.rows, []).append(run)
    return list(groups.values())


def _run(run: FoundRun) -> dict[str, Any]:
    report = run.report or {}
    training, timings = report.get("training", {}), report.get("timings") or {}
    best = report.get("best")
    return {
        "finished": run.finished, "steps": run.steps, "epochs": training.get("epochs"), "stoppedEarly": training.get("stoppedEarly"),
        "bestStep": best["step"] if best else None, "trainLoss": training.get("trainLoss"),
        "trainingSeconds": training.get("seconds"), "seconds": timings.get("seconds"), "judgedBy": report.get("judgedBy"),
    }  # fmt: skip


def differing_settings(runs: Sequence[FoundRun]) -> dict[str, dict[str, Any]]:
    """Return the settings that are not the same in all runs, by their names in a job file: the value of each run, None if unset."""
    flat = [_settings(run) for run in runs]
    names = list(dict.fromkeys(name for settings in flat for name in settings))
    values = {name: [settings.get(name) for settings in flat] for name in names}
    return {
        name: dict(zip((run.name for run in runs), found, strict=True))
        for name, found in values.items()
        if any(value != found[0] for value in found)
    }


def _settings(run: FoundRun) -> dict[str, Any]:
    """Return the settings of a run by name; of files the digest of what they hold, because their paths are not recorded."""
    filled = {name: _filled(name, value) for name, value in in_words_of_today(run.lineage).items()}
    contents = {f"{name} (content)": digest[:12] for name, digest in run.digests.items()}
    return dict(_flat("", filled)) | contents


def _filled(name: str, value: Any) -> Any:
    if name not in FILLED or not isinstance(value, Mapping):
        return value
    section: Any = TrainConfig.model_fields[name].annotation
    try:
        return section.model_validate(value).to_wire()
    except ValidationError as error:  # another version wrote it
        known = value
        for found in error.errors():
            known = _without(known, found["loc"]) if found["loc"] else known
    try:
        return _merged(section.model_validate(known).to_wire(), value)
    except ValidationError:
        return value


def _without(tree: Mapping[str, Any], path: Sequence[Any]) -> dict[str, Any]:
    """Return a tree without the member at a path, or without the last one on the way that it has."""
    name, *rest = path
    others, below = {member: value for member, value in tree.items() if member != name}, tree.get(name)
    return {**others, name: _without(below, rest)} if rest and isinstance(below, Mapping) and rest[0] in below else others


def _merged(filled: Any, recorded: Any) -> Any:
    """Return what was recorded, with what `filled` has besides."""
    if not isinstance(filled, Mapping) or not isinstance(recorded, Mapping):
        return recorded
    return {**filled, **{name: _merged(filled.get(name), value) for name, value in recorded.items()}}


def _flat(path: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        if not value:  # a choice without settings, such as method.full; of a source or model only its path was there
            return [(path, "{}")] if path and not path.startswith(("data.", "model")) else []
        return [pair for name, member in value.items() for pair in _flat(f"{path}.{name}" if path else name, member)]
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return [pair for index, member in enumerate(value) for pair in _flat(f"{path}[{index}]", member)]
    return [] if value is None else [(path, value)]


def _figures(group: Sequence[FoundRun]) -> dict[str, Any]:
    """Return the figures of runs with the same test rows, and how those after the first differ from it."""
    names = list(dict.fromkeys(name for run in group for name in (run.report or {})["final"]))
    first = group[0]
    differences = {
        run.name: differences_to_wire(first.measured, run.measured, ("before", "after"))
        for run in group[1:]
        if first.measured is not None and run.measured is not None and first.measured.rows == run.measured.rows
    }
    return {
        "runs": [run.name for run in group],
        "testRows": (first.report or {})["rows"]["evaluated"],
        "comparedWith": first.name,
        "metrics": {
            name: {run.name: _figure(run, name) | _difference(differences.get(run.name, {}).get(name)) for run in group} for name in names
        },
    }


def _figure(run: FoundRun, name: str) -> dict[str, Any]:
    figure = (run.report or {})["final"].get(name, {})
    return {"value": figure.get("value"), "interval": figure.get("interval")}


def _difference(found: Mapping[str, Any] | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {"difference": {name: found[key] for name, key in _PARTS.items() if key in found}}


_PARTS = {"value": "difference", "interval": "interval", "pValue": "pValue", "verdict": "verdict"}


def _warnings(runs: Sequence[FoundRun], groups: Sequence[Sequence[FoundRun]]) -> list[str]:
    lines = [f"{run.name} is not finished: {run.steps} steps until now" for run in runs if not run.finished]
    known = [group for group in groups if group[0].rows is not None]
    if len(known) > 1:
        apart = "; ".join(" and ".join(run.name for run in group) for group in known)
        lines.append(f"the test rows are not the same, so that figures are not compared between: {apart}")
    lines += [
        f"{run.name} has a report of an earlier version, which does not say what its test rows are: compared with no other run"
        for [run, *_] in groups
        if run.rows is None
    ]
    for run in runs:
        report = run.report or {}
        failed = [entry for member in ("ablations", "dataCurve") for entry in report.get(member) or () if "failed" in entry]
        lines += [f"{run.name} has no figures of its control run {entry['name']}: {entry['failed']}" for entry in failed]
        if unknown := [name for name in report.get("final", {}) if name not in METRICS]:
            lines.append(f"{run.name} has figures of a newer version, which are left out: {', '.join(unknown)}")
    lines += [
        f"{run.name} has no measurement.json that can be read: without it a difference has no interval, only each figure has"
        for group in groups
        if len(group) > 1
        for run in group
        if run.measured is None
    ]
    return lines


def validated_figure(runs: Sequence[FoundRun]) -> MetricName | None:
    """Return the figure of the validations that is drawn: what the first run is judged by, else the first one there is."""
    names = [name.removeprefix(VALIDATION) for run in runs for line in run.lines for name in line if name.startswith(VALIDATION)]
    names = [name for name in names if name in METRICS]  # others are of a newer version
    judged = [run.report["judgedBy"] for run in runs if run.report is not None and "judgedBy" in run.report]
    found = next((name for name in judged if name in names), None) or next(iter(names), None)
    return None if found is None else MetricName(found)
