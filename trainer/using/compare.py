"""`finetune compare`: runs beside each other, by what they have left in their folders. Loads no model.

Test: tests/trainer/using/test_compare.py.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from finetune.api.results import ResultsFolder, read_report
from finetune.api.using import Compare
from trainer.evaluation.measured import measured_in
from trainer.reporting.compared import FoundRun, compared_to_wire, validated_figure
from trainer.reporting.curves import draw
from trainer.reporting.rendercompared import render_compared
from trainer.storage.localfolder import LocalFolder
from trainer.storage.ownership import Ownership


def compare(wanted: Compare) -> None:
    """Print what was found, and draw the curves if that is asked for. Raises InputError for a folder that holds no run."""
    runs = [found_in(folder, name) for folder, name in zip(wanted.folders, short_names(wanted.folders), strict=True)]
    found = compared_to_wire(runs)
    if wanted.plot is not None:
        draw(runs, validated_figure(runs), wanted.plot)
    if wanted.as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return
    console = Console()
    console.print(render_compared(found))
    if wanted.plot is not None:
        console.print(f"the learning curves are in {wanted.plot}", soft_wrap=True, highlight=False, markup=False)


def found_in(folder: Path, name: str) -> FoundRun:
    """Return what a run has left in a folder; raises InputError where there is none."""
    place, results = LocalFolder(folder), ResultsFolder(folder)
    recorded = Ownership.recorded(place)
    return FoundRun(
        name=name,
        lineage=recorded.lineage,
        digests=recorded.digests,
        finished=bool(json.loads(place.fetch("run.json").read_text(encoding="utf-8"))["finished"]),
        report=read_report(results),
        measured=measured_in(results),
        lines=_lines(folder / "metrics.jsonl"),
    )


def _lines(file: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl; one that is being written, or was cut by a crash, is left out."""
    if not file.is_file():
        return []
    found = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("step"), int):
            found.append(value)
    return found


def short_names(folders: Sequence[Path]) -> list[str]:
    """Return the end of each path, as long as it takes to tell it from the others."""
    return [_short(folder, [other for other in folders if other != folder]) for folder in folders]


def _short(folder: Path, others: Sequence[Path]) -> str:
    ends = (folder.parts[-length:] for length in range(1, len(folder.parts)))
    return "/".join(next((end for end in ends if all(other.parts[-len(end) :] != end for other in others)), folder.parts))
