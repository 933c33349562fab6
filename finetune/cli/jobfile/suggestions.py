"""What to do about a mistake in a job: the field that is meant, where it belongs, how a value is written.

Whatever is proposed is a name that the schema has or a value that it takes. Pure. Tests: tests/finetune/cli/jobfile/test_suggestions.py.
"""

import difflib
import json
import re
from collections.abc import Container, Iterable
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from finetune.cli.jobfile.fields import Location, every_field, fields_of, plain_type, type_at
from finetune.cli.jobfile.scalars import FLOAT, ScalarError, plain

ALIKE, NEARLY_THE_SAME = 0.6, 0.85
"""Likeness from which a name may be meant here, and from which it is not looked for in other places."""
AS_TRUE_OR_FALSE = "put quotes around it; yes, no, on, off, y and n without quotes are true or false"
NAMING_FIELDS = ("name", "path", "claimName")
"""Fields that a text alone may have been meant for, where an object is expected."""
NESTED_FIELDS = ("train", "persistentVolumeClaim")
SAME_AS_TRAIN, MOST_PLACES = {"validation[]", "test[]", "sources[]", "generalEvaluation[]", "domainEvaluation[]"}, 2
EVERY_LAYER = ("all-linear", "all")
OTHER_TOOLS = {
    "numtrainepochs": "training.epochs",
    "numepochs": "training.epochs",
    "batchsize": "training.globalBatchSize",
    "perdevicetrainbatchsize": "training.microBatchSize",
    "microbatchsize": "training.microBatchSize",
    "gradientaccumulationsteps": "training.globalBatchSize",
    "lr": "training.learningRate",
    "lrschedulertype": "training.scheduler",
    "lrscheduler": "training.scheduler",
    "warmupsteps": "training.warmupRatio",
    "maxseqlength": "training.maxSequenceLength",
    "maxseqlen": "training.maxSequenceLength",
    "maxlength": "training.maxSequenceLength",
    "sequencelen": "training.maxSequenceLength",
    "cutofflen": "training.maxSequenceLength",
    "maxgradnorm": "training.gradientClipping",
    "bf16": "training.precision",
    "fp16": "training.precision",
    "fp32": "training.precision",
    "r": "method.lora.rank",
    "lorar": "method.lora.rank",
    "lorarank": "method.lora.rank",
    "loraalpha": "method.lora.alpha",
    "loradropout": "method.lora.dropout",
    "loratargetmodules": "method.lora.targetModules",
    "adapter": "method.lora",
    "evalsteps": "evaluation.everySteps",
    "savesteps": "checkpoint.everySteps",
    "savetotallimit": "checkpoint.keep",
    "outputdir": "output.persistentVolumeClaim",
    "basemodel": "model.name",
    "modelnameorpath": "model.name",
    "modelname": "model.name",
    "dataset": "data.train",
    "datasets": "data.train",
    "datasetname": "data.train[].huggingFace.name",
    "trainfile": "data.train[].path",
    "datafiles": "data.train[].path",
    "datasetpath": "data.train[].path",
    "zero": "distributed.deepspeed.zeroStage",
    "zerostage": "distributed.deepspeed.zeroStage",
    "numworkers": "distributed.workers",
    "gpu": "resources.gpus",
    "numgpus": "resources.gpus",
}
"""What other tools call a field, without case, underscores and dashes, and where it is here."""


def plain_name(name: str) -> str:
    """Return a name without what differs between ways of writing it: case, underscores and dashes."""
    return name.lower().replace("_", "").replace("-", "")


def closest(name: str, known: Iterable[str], given: Container[str] = ()) -> str:
    """Say which of `known` is meant by the misspelled `name`, or list them all; `given` are the other names there."""
    names = sorted(known)
    meant = _meant(name, names, ALIKE)
    if meant:
        return f"remove it, {meant} is given too" if meant in given else f"did you mean {meant}?"
    return f"known here: {', '.join(names)}" if names else "remove it"


def for_unknown_field(name: str, location: Location, given: Any, root: type[BaseModel], prefix: str) -> str:
    """Say what to do about the field `name`, which the model at `location` below `root` does not have; `given` is what is there."""
    known = fields_of(type_at(root, location))
    siblings = given if isinstance(given, dict) else {}
    if siblings.get(name, "") is None and FLOAT.fullmatch(name):
        return "inside {…} a comma starts the next field; write numbers with a decimal point and no commas"
    if name in ("true", "false"):
        return f"a key y, yes, on, n, no or off is read as {name}; put quotes around it"
    if not _meant(name, known, NEARLY_THE_SAME):
        elsewhere = _elsewhere(name, location, root, prefix)
        if elsewhere:
            return elsewhere
    return closest(name, known, siblings)


def for_wrong_type(value: Any, wanted: str, model: Any) -> str:
    """Say how to write `value` where `wanted` (a text, a number, a list, …) of the type `model` is expected."""
    if wanted == "a string" and isinstance(value, (bool, int, float)):
        return AS_TRUE_OR_FALSE if isinstance(value, bool) else "put quotes around it"
    scalar = meant_scalar(value, wanted)
    if scalar is not None:
        return f"write {scalar:g} for {value}" if str(value).endswith("%") else f"write {value} without quotes"
    if wanted == "a list" and isinstance(value, dict):
        return "give a list: begin each entry with '- '"
    if wanted == "a list" and value in EVERY_LAYER:
        return "leave it out, every linear layer is the default"
    if value is False and wanted.startswith("an object"):
        return "leave it out"
    meant = _as_written(value, model)
    return f"give {wanted}" if meant is None else f"write {_flow(meant)}"


def meant_scalar(value: Any, wanted: str) -> str | int | float | None:
    """Return the text, number or flag that `value` was meant to be where `wanted` is expected, None where it is something else."""
    if wanted == "a string" and isinstance(value, (bool, int, float)):
        return str(value).lower()
    if not isinstance(value, str) or wanted not in ("a number", "a whole number", "true or false"):
        return None
    if wanted == "a number" and (fraction := _percent(value)) is not None:
        return fraction
    try:
        meant = plain(value)
    except ScalarError:
        return None
    if isinstance(meant, str) or isinstance(meant, bool) is not (wanted == "true or false"):
        return None
    return meant


def _meant(name: str, known: Iterable[str], likeness: float) -> str | None:
    by_plain_name = {plain_name(known_name): known_name for known_name in known}
    matches = difflib.get_close_matches(plain_name(name), by_plain_name, n=1, cutoff=likeness)
    return by_plain_name[matches[0]] if matches else None


def _elsewhere(name: str, location: Location, root: type[BaseModel], prefix: str) -> str | None:
    """Say where the one field is that has this name elsewhere, or that other tools call by it."""
    here = tuple(part for part in location if isinstance(part, str))
    paths = [path for path in every_field(root) if plain_name(path[-1]) == plain_name(name) and path[:-1] != here]
    places = [f"{prefix}.{'.'.join(path)}" for path in paths if not set(path) & SAME_AS_TRAIN]
    if 0 < len(places) <= MOST_PLACES:
        return f"it belongs at {' or '.join(places)}"
    path = OTHER_TOOLS.get(plain_name(name))
    return f"the closest here is {prefix}.{path}" if path else None


def _percent(value: str) -> float | None:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?%", value)
    return float(match[1]) / 100 if match else None


def _as_written(value: Any, model: Any) -> Any:
    """Return what `value` was meant to be where `model`, a model or a list, is expected; None where nothing suits."""
    if get_origin(model) is list:
        inner = plain_type(get_args(model)[0])
        candidates = [value] if not isinstance(inner, type) or not issubclass(inner, BaseModel) else [_as_written(value, inner)]
        candidates = [[candidate] for candidate in candidates]
    elif not (isinstance(model, type) and issubclass(model, BaseModel)):
        return None
    elif value is True:
        candidates = [{}]
    elif isinstance(value, str):
        fields = fields_of(model)
        candidates = [{value: {}}, *({name: value} for name in NAMING_FIELDS if name in fields)]
        candidates += [{name: _as_written(value, plain_type(fields[name].annotation))} for name in NESTED_FIELDS if name in fields]
    else:
        return None
    return next((candidate for candidate in candidates if _fits(candidate, model)), None)


def _fits(candidate: Any, model: Any) -> bool:
    try:
        TypeAdapter(model).validate_json(json.dumps(candidate), strict=True, by_alias=True, by_name=False)
    except ValidationError:
        return False
    return True


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_flow(member)}" for name, member in value.items()) + "}"
    return "[" + ", ".join(map(_flow, value)) + "]" if isinstance(value, list) else str(value)
