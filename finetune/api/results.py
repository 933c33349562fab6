"""Which results and checkpoints of a run are there: they may have been deleted since, or more forms of the model may be wanted.

Reads names and small JSON files, so that `finetune run` knows before it starts anything. Tests: tests/finetune/api/test_results.py.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from finetune.api.sections import Export

REPORT, MODEL = "report.json", "model"
SMALL_FILES = {Export.ADAPTER: "adapter_config.json", Export.MERGED: "config.json"}
WEIGHTS = {Export.ADAPTER: "adapter_model.safetensors", Export.MERGED: "model.safetensors"}


def missing_results(directory: Path, forms: Iterable[Export]) -> list[str]:
    """Return what the output folder of a finished run lacks, as paths in it: report.json, model/adapter, model/merged."""
    missing = [] if read_report(directory) is not None else [REPORT]
    return missing + [f"{MODEL}/{form.value}" for form in forms if not _whole(directory / MODEL / form.value, form)]


def read_report(directory: Path) -> dict[str, Any] | None:
    """Return the report of the run in a folder, or None where there is none that can be read."""
    return _read_object(directory / REPORT)


def _whole(folder: Path, form: Export) -> bool:
    if not (folder / SMALL_FILES[form]).is_file():
        return False
    if (folder / WEIGHTS[form]).is_file():
        return True
    index = _read_object(folder / f"{WEIGHTS[form]}.index.json") or {}
    files = set((index.get("weight_map") or {}).values())
    return bool(files) and all((folder / str(name)).is_file() for name in files)


def _read_object(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
