"""States what pydantic found wrong with a job: `field: what is wrong; what to do`, one line per mistake.

Fields are named as they are in the file (`spec.training.learningRate`). Pure. Tests: tests/finetune/cli/jobfile/test_problems.py.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from finetune.api.errors import InputError
from finetune.api.sources import KEY_NAME, OBJECT_NAME, REVISION
from finetune.api.spec import LABEL_KEY, LABEL_VALUE
from finetune.cli.jobfile.fields import Location, fields_of, type_at, value_at
from finetune.cli.jobfile.suggestions import for_unknown_field, for_wrong_type, meant_scalar, plain_name

KINDS = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object (name: value)",
    "model_type": "an object (name: value)",
    "model_attributes_type": "an object (name: value)",
}
BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
LENGTHS = {
    "string_too_long": ("max_length", "at most", "characters"),
    "too_short": ("min_length", "at least", "entries"),
    "too_long": ("max_length", "at most", "entries"),
}
FORMS = {
    OBJECT_NAME: "use lower-case letters, digits, dashes and dots, beginning and ending with a letter or digit",
    KEY_NAME: "use letters, digits, dashes, dots and underscores, and do not begin with two dots",
    REVISION: "give a commit, branch or tag of the hub: letters, digits and any of -_@#=,()!%+, with single dots and slashes between",
    LABEL_KEY: "give name or domain/name, of letters, digits, '-', '_' and '.'; a name has at most 63",
    LABEL_VALUE: "use letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
}
SINGULAR = {"characters": "character", "entries": "entry"}


def explain(error: ValidationError, model: type[BaseModel], document: Any, prefix: str) -> list[InputError]:
    """Translate every finding of `error`, which validating `document` as `model` raised; `prefix` is the document's own path."""
    return [_explain_one(details, model, document, prefix) for details in error.errors(include_url=False)]


def dotted(location: Iterable[int | str]) -> str:
    """Write a location as a path: `spec.data.train[0].path`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _explain_one(details: ErrorDetails, model: type[BaseModel], document: Any, prefix: str) -> InputError:
    kind, location, given = details["type"], details["loc"], details["input"]
    context: Mapping[str, Any] = details.get("ctx", {})
    field = dotted((prefix, *location))
    if kind == "value_error":
        return _explain_rule(str(context["error"]), location, document, prefix)
    if kind == "extra_forbidden":
        siblings = value_at(document, location[:-1])
        return InputError(field, "there is no such field", for_unknown_field(str(location[-1]), location[:-1], siblings, model, prefix))
    if kind == "missing":
        missing = fields_of(type_at(model, location[:-1])).get(str(location[-1]))
        return InputError(field, "is missing", f"add it: {missing.description}" if missing and missing.description else "add it")
    if kind in KINDS:
        meant = meant_scalar(given, KINDS[kind])
        refusal = None if meant is None else _refusal_of(meant, location, model, document)
        fix = for_wrong_type(given, KINDS[kind], type_at(model, location)) if refusal is None else refusal
        return InputError(field, f"{shown(given)} is not {KINDS[kind]}", fix)
    if kind in ("enum", "literal_error"):
        allowed = re.findall(r"'([^']+)'", context["expected"])
        alike = [name for name in allowed if isinstance(given, str) and plain_name(name) == plain_name(given)]
        return InputError(field, f"{shown(given)} is not allowed", f"write {alike[0]}" if alike else f"use {context['expected']}")
    if kind in BOUNDS:
        key, words = BOUNDS[kind]
        return InputError(field, f"{shown(given)} is out of range", f"give {words} {_limit(context[key])}")
    if kind == "string_too_short":
        return InputError(field, "is empty", "give a string")
    if kind in LENGTHS:
        key, words, unit = LENGTHS[kind]
        unit = SINGULAR[unit] if context[key] == 1 else unit
        return InputError(field, f"{shown(given)} is too {'short' if 'min' in key else 'long'}", f"give {words} {context[key]} {unit}")
    if kind == "string_pattern_mismatch":
        return InputError(
            field,
            f"{shown(given)} has another form than this field needs",
            FORMS.get(context["pattern"], f"it must match {context['pattern']}"),
        )
    return InputError(field, details["msg"][:1].lower() + details["msg"][1:], f"the file has {shown(given)}")


def _refusal_of(value: Any, location: Location, model: type[BaseModel], document: Any) -> str | None:
    """Return what to do if `value` were at `location`, None if it would be accepted: quotes alone do not fix every number."""
    parent, siblings = type_at(model, location[:-1]), value_at(document, location[:-1])
    if not (fields_of(parent) and isinstance(siblings, Mapping)):
        return None
    try:
        parent.model_validate_json(json.dumps({**siblings, str(location[-1]): value}), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            if details["loc"] == location[-1:]:
                return _explain_one(details, parent, siblings, "").fix
            head, _, problem = details["msg"].removeprefix("Value error, ").partition(": ")
            if details["type"] == "value_error" and head.split(".")[-1] == location[-1]:
                return problem
    return None


def _explain_rule(message: str, location: Location, document: Any, prefix: str) -> InputError:
    """Name the field of a rule's message in full.

    A rule knows its own object only: it says `training: give …` or `model.revision: …` or `path: …`, with names that either
    repeat the end of the location or are inside the object; a name that is neither describes the object.
    """
    head, separator, problem = message.partition(": ")
    if not separator:
        return InputError(dotted((prefix, *location)), message)
    names = [part for part in (prefix, *location) if isinstance(part, str)]
    wanted = head.split(".")
    for count in range(min(len(names), len(wanted)), 0, -1):
        if names[-count:] == wanted[:count]:
            return InputError(dotted((prefix, *location, *wanted[count:])), problem)
    value = value_at(document, location)
    if isinstance(value, Mapping) and wanted[0] in value:
        return InputError(dotted((prefix, *location, *wanted)), problem)
    return InputError(dotted((prefix, *location)), problem)


def _limit(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else f"{number:g}"


def shown(value: Any) -> str:
    """Return a value as it would be in the file, shortened for a sentence."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"
