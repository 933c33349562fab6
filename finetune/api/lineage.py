"""Finds the field by which two runs differ, so that another configuration's output can be refused by name.

Pure, so that `finetune run` can refuse before it starts anything. Tests: tests/finetune/api/test_lineage.py.
"""

from collections.abc import Mapping
from typing import Any


def differing_field(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Return the path of the first field that differs between two lineages, such as `training.learningRate`, or None.

    Both are in the form of TrainConfig.lineage(); a field that is absent equals one that is null. Fields that only
    `recorded` knows are left out: a record may hold more than a configuration says.
    """
    for name in wanted:
        path = _difference(name, recorded.get(name), wanted[name])
        if path is not None:
            return path
    return None


def _difference(path: str, recorded: Any, wanted: Any) -> str | None:
    if recorded == wanted:
        return None
    if isinstance(recorded, Mapping) and isinstance(wanted, Mapping):
        pairs = [(f"{path}.{name}", recorded.get(name), wanted.get(name)) for name in [*wanted, *(n for n in recorded if n not in wanted)]]
    elif isinstance(recorded, list) and isinstance(wanted, list) and len(recorded) == len(wanted):
        pairs = [(f"{path}[{index}]", old, new) for index, (old, new) in enumerate(zip(recorded, wanted, strict=True))]
    else:
        return path
    return next((found for pair in pairs if (found := _difference(*pair)) is not None), None)
