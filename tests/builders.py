"""The smallest valid job and trainer configuration, from which tests change what they are about.

A change is named by its path with `__` for the dots: `training__maxSteps=3` sets that field, `training={...}` replaces the section,
and REMOVED takes a field away.
"""

import copy
from pathlib import Path
from typing import Any, Final

import yaml

from finetune.api.trainconfig import TrainConfig

REMOVED: Final = object()
SPEC: Final[dict[str, Any]] = {
    "task": "chat",
    "model": {"name": "org/model"},
    "data": {"train": [{"configMap": {"name": "rows", "key": "train.jsonl"}}]},
    "method": {"lora": {}},
    "training": {"epochs": 1},
    "output": {"persistentVolumeClaim": {"claimName": "models"}},
}


def changed(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a copy of `document` with fields set, replaced or removed."""
    result = copy.deepcopy(document)
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is REMOVED:
            del place[name]
        else:
            place[name] = copy.deepcopy(value)
    return result


def wire_spec(**changes: Any) -> dict[str, Any]:
    """Return a valid spec as a user writes it, with these changes."""
    return changed(SPEC, **changes)


def resource(name: str = "bot", **changes: Any) -> dict[str, Any]:
    """Return a FineTuneJob as a user writes it, with these changes to its spec."""
    metadata = {"name": name}
    return {"apiVersion": "finetune.dev/v1alpha1", "kind": "FineTuneJob", "metadata": metadata, "spec": wire_spec(**changes)}


def write_documents(path: Path, *documents: Any) -> Path:
    """Write a YAML file of these documents."""
    path.write_text(yaml.safe_dump_all(documents, allow_unicode=True), encoding="utf-8")
    return path


def wire_config(folder: Path = Path("/nowhere"), **changes: Any) -> dict[str, Any]:
    """Return the trainer's configuration as its file holds it, with these changes; all of its files lie in `folder`."""
    config = {
        "job": {"name": "support-bot"},
        "task": "chat",
        "model": {"path": str(folder / "model")},
        "data": {"train": [{"path": str(folder / "train.jsonl")}]},
        "method": {"lora": {"rank": 4}},
        "training": {"epochs": 1},
        "output": {"directory": str(folder / "out")},
        "progress": {"file": str(folder / "out" / ".finetune" / "progress.json")},
    }
    return changed(config, **changes)


def train_config(folder: Path = Path("/nowhere"), **changes: Any) -> TrainConfig:
    """Return the trainer's configuration, with these changes; all of its files lie in `folder`."""
    return TrainConfig.model_validate(wire_config(folder, **changes))
