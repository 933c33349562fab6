"""The smallest valid job and trainer configuration, from which tests change what they are about.

A change is named by its path with `__` for the dots: `training__maxSteps=3` sets that field, `training={...}` replaces the section,
and REMOVED takes a field away.
"""

import copy
from typing import Any, Final

from finetune.api.trainconfig import TrainConfig

REMOVED: Final = object()


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
            place[name] = value
    return result


def train_config(**changes: Any) -> TrainConfig:
    """Return the trainer's configuration; its files lie nowhere, so a test that reads or writes one gives its place."""
    wire: dict[str, Any] = {
        "job": {"name": "support-bot"},
        "task": "chat",
        "model": {"path": "/models/tiny"},
        "data": {"train": [{"path": "/data/train.jsonl"}]},
        "method": {"lora": {"rank": 4}},
        "training": {"epochs": 1},
        "output": {"directory": "/output"},
        "progress": {"file": "/output/record.json"},
    }
    return TrainConfig.model_validate(changed(wire, **changes))
