"""Finds the field by which two runs differ, so that another configuration's output can be refused by name.

Pure, so that `finetune run` can refuse before it starts anything. Tests: tests/finetune/api/test_lineage.py.
"""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic.fields import FieldInfo

from finetune.api.base import WireModel
from finetune.api.earlier import in_words_of_today
from finetune.api.sections import GradientCheckpointing
from finetune.api.trainconfig import TrainConfig

LENGTH = ("epochs", "maxSteps")
"""Fields of training that say how long it takes."""


def differing_field(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Return the path of the first field that differs between two lineages, such as `training.learningRate`, or None.

    Both are in the form of TrainConfig.lineage(); a field that is absent equals one that is null, and one that `recorded` lacks
    equals its default, because a version that did not have the field wrote the record. Top fields that only `recorded` knows are left
    out: a record may hold more than a configuration says. So the default of a new field must be what versions before it did.
    """
    fields = _fields_of(TrainConfig)
    # A job without the field was recorded as false, and says auto today: recomputing changes no figure but by rounding.
    auto = (wanted.get("training") or {}).get("gradientCheckpointing") == GradientCheckpointing.AUTO
    recorded = in_words_of_today(recorded, GradientCheckpointing.AUTO if auto else GradientCheckpointing.NEVER)
    for name in wanted:
        path = _difference(name, recorded.get(name), wanted[name], fields.get(name))
        if path is not None:
            return path
    return None


def without_length(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """Return a lineage without how long it trains, which a run that goes on from it may change."""
    training = {name: value for name, value in (lineage.get("training") or {}).items() if name not in LENGTH}
    return {**lineage, "training": training}


def length_of(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """Return how long a lineage trains: its epochs or its maxSteps."""
    training = lineage.get("training") or {}
    return {name: training[name] for name in LENGTH if training.get(name) is not None}


def _difference(path: str, recorded: Any, wanted: Any, field: FieldInfo | None) -> str | None:
    if recorded is None and wanted is not None and field is not None and not field.is_required():
        recorded = field.default.to_wire() if isinstance(field.default, WireModel) else field.default
    if recorded == wanted:
        return None
    if isinstance(recorded, Mapping) and isinstance(wanted, Mapping):
        fields = _fields_of(_model_in(field.annotation)) if field is not None else {}
        names = [*wanted, *(name for name in recorded if name not in wanted)]
        pairs = [(f"{path}.{name}", recorded.get(name), wanted.get(name), fields.get(name)) for name in names]
    elif isinstance(recorded, list) and isinstance(wanted, list) and len(recorded) == len(wanted):
        pairs = [(f"{path}[{index}]", old, new, _item(field)) for index, (old, new) in enumerate(zip(recorded, wanted, strict=True))]
    else:
        return path
    return next((found for pair in pairs if (found := _difference(*pair)) is not None), None)


def _fields_of(model: type[WireModel] | None) -> dict[str, FieldInfo]:
    """Return the fields of a model by their names on the wire."""
    return {field.alias or name: field for name, field in model.model_fields.items()} if model is not None else {}


def _model_in(annotation: Any) -> type[WireModel] | None:
    """Return the model that a field holds, alone, as a list of them or optionally."""
    if isinstance(annotation, type) and issubclass(annotation, WireModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner)) is not None), None)


def _item(field: FieldInfo | None) -> FieldInfo | None:
    """Return what describes the items of a list; none of them has a default."""
    return FieldInfo(annotation=field.annotation) if field is not None else None
