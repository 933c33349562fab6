"""Which results of a run are there: they may have been deleted since, or more forms of the model may be wanted.

Reads names and small JSON files, so that `finetune run` knows before it starts anything. The trainer asks its places, which are
results as well. Tests: tests/finetune/api/test_results.py.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from finetune.api.evaluation import Ablation
from finetune.api.sections import Export

REPORT, MODEL, PREDICTIONS = "report.json", "model", "predictions.jsonl"
MEASUREMENT = "measurement.json"
"""What the figures on the test rows were computed from, row by row, so that runs can be compared pair by pair."""
ABLATIONS = "ablations"
"""Folder of the control runs."""
ADAPTATION, BASE_ONLY = "adaptation", "adaptation/base"
"""Folders of the run that learns domainAdaptation.corpus, and of the one that measures the untouched model."""
LOGS = "logs"
"""Folder of what driver and ranks wrote, a folder an attempt."""
KEPT = {"predictions": PREDICTIONS, "measurement": MEASUREMENT}
"""Files that a report names, by the member that does."""
SMALL_FILES = {Export.ADAPTER: "adapter_config.json", Export.MERGED: "config.json"}
WEIGHTS = {Export.ADAPTER: "adapter_model.safetensors", Export.MERGED: "model.safetensors"}


class Results(Protocol):
    """Where the results of a run are, by their paths in its output."""

    def fetch(self, name: str) -> Path:
        """Return a local path of a file, to read only. FileNotFoundError when it is not there."""

    def names(self, folder: str = "") -> list[str]:
        """Return the paths of at least all files directly in a folder; none when there is no such folder."""


@dataclass(frozen=True)
class ResultsFolder:
    """The results in a local folder, as they are."""

    root: Path

    def fetch(self, name: str) -> Path:
        """Return the path, whether anything is there or not: reading shows it."""
        return self.root / name

    def names(self, folder: str = "") -> list[str]:
        """List the files of the folder: a folder or a link that leads nowhere is no result, whatever its name."""
        there = self.root / folder
        return [path.relative_to(self.root).as_posix() for path in there.iterdir() if path.is_file()] if there.is_dir() else []


def missing_results(results: Results, forms: Iterable[Export], *, to_compare: bool = False) -> list[str]:
    """Return what the output of a finished run lacks, as paths in it: report.json, predictions.jsonl, model/adapter, model/merged.

    Also measurement.json, if the report names it, or other runs are `to_compare` with this one.
    """
    report, there = read_report(results), results.names()
    missing = [] if report is not None else [REPORT]
    named = {name for member, name in KEPT.items() if report is not None and report.get(member)}
    named |= {MEASUREMENT} if to_compare else set()
    missing += [name for name in KEPT.values() if name in named and name not in there]
    return missing + [f"{MODEL}/{form.value}" for form in forms if not _whole(results, form)]


def missing_ablations(results: Results, ablations: Iterable[Ablation]) -> list[str]:
    """Return the control runs whose effect the report of a run lacks, as paths in its output."""
    report = read_report(results) or {}
    there = {entry["name"] for entry in report.get("ablations") or ()} | ({Ablation.DATA.value} if report.get("dataCurve") else set())
    return [f"{ABLATIONS}/{ablation.value}" for ablation in ablations if ablation.value not in there]


def read_report(results: Results) -> dict[str, Any] | None:
    """Return the report of a run, or None where there is none that can be read."""
    return _read_object(results, REPORT)


def _whole(results: Results, form: Export) -> bool:
    folder = f"{MODEL}/{form.value}"
    there, weights = set(results.names(folder)), f"{folder}/{WEIGHTS[form]}"
    if f"{folder}/{SMALL_FILES[form]}" not in there:
        return False
    if weights in there:
        return True
    index = _read_object(results, f"{weights}.index.json") or {}
    files = {f"{folder}/{name}" for name in (index.get("weight_map") or {}).values()}
    return bool(files) and files <= there


def _read_object(results: Results, name: str) -> dict[str, Any] | None:
    try:
        content = json.loads(results.fetch(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
