"""Builds job files for the tests of the command."""

import copy
import sys
from pathlib import Path
from typing import Any

import yaml

JOB: dict[str, Any] = {
    "apiVersion": "finetune.dev/v1alpha1",
    "kind": "FineTuneJob",
    "metadata": {"name": "support-bot"},
    "spec": {
        "task": "chat",
        "model": {"name": "org/model"},
        "data": {"train": [{"configMap": {"name": "pairs", "key": "train.jsonl"}}]},
        "method": {"lora": {"rank": 8}},
        "training": {"epochs": 1, "globalBatchSize": 8},
        "output": {"persistentVolumeClaim": {"claimName": "models"}},
    },
}
CONFIG_MAP: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "pairs"}, "data": {"train.jsonl": '{"a": 1}\n'}}
REMOVED = object()


def job(**changes: Any) -> dict[str, Any]:
    """Return the sample job; `spec__training__epochs=2` sets a member, REMOVED takes it away."""
    document = copy.deepcopy(JOB)
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is REMOVED:
            del place[name]
        else:
            place[name] = value
    return document


def write(folder: Path, *documents: Any) -> Path:
    """Write documents into folder/job.yaml."""
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump_all(documents or [CONFIG_MAP, JOB]))
    return path


def standin(behaviour: str) -> list[str]:
    """Return the command that starts the stand-in for the trainer."""
    return [sys.executable, str(Path(__file__).with_name("standin.py")), behaviour]
