"""Puts what pydantic found wrong with a job into words: `field: what is wrong; what to do`, one line per mistake.

Fields are named as they stand in the file (`spec.training.learningRate`). Pure. Tests: tests/controller/cli/test_problems.py.
"""

import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from trainer.config.errors import InputError

Location = tuple[int | str, ...]

KINDS = {
    "string_type": "a text",
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
    "string_too_short": ("min_length", "at least", "characters"),
    "string_too_long": ("max_length", "at most", "characters"),
    "too_short": ("min_length", "at least", "entries"),
    "too_long": ("max_length", "at most", "entries"),
}
SINGULAR = {"characters": "character", "entries": "entry"}


class BadInputError(Exception):
    """Several mistakes of the user at once, so that they can be mended in one go."""

    def __init__(self, errors: Iterable[InputError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


def explain(error: ValidationError, model: type[BaseModel], document: Any, prefix: str) -> list[InputError]:
    """Translate every finding of `error`, which validating `document` as `model` raised; `prefix` is the document's own path."""
    return [_explain_one(details, model, document, prefix) for details in error.errors(include_url=False)]


def dotted(location: Iterable[int | str]) -> str:
    """Write a location as a path: `spec.data.train[0].path`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def closest(name: str, known: Iterable[str]) -> str:
    """Say which of `known` is meant by the misspelt `name`, or list them all."""
    names = sorted(known)
    by_lower_case = {known_name.lower(): known_name for known_name in names}
    matches = difflib.get_close_matches(name.lower().replace("_", "").replace("-", ""), by_lower_case, n=1)
    if matches:
        return f"did you mean {by_lower_case[matches[0]]}?"
    return f"known here: {', '.join(names)}" if names else "remove it"


def _explain_one(details: ErrorDetails, model: type[BaseModel], document: Any, prefix: str) -> InputError:
    kind, location, given = details["type"], details["loc"], details["input"]
    context: Mapping[str, Any] = details.get("ctx", {})
    field = dotted((prefix, *location))
    if kind == "value_error":
        return _explain_rule(str(context["error"]), location, document, prefix)
    if kind == "extra_forbidden":
        known = _fields(_type_at(model, location[:-1]))
        return InputError(field, "there is no such field", closest(str(location[-1]), known))
    if kind == "missing":
        missing = _fields(_type_at(model, location[:-1])).get(str(location[-1]))
        return InputError(field, "is missing", f"add it: {missing.description}" if missing and missing.description else "add it")
    if kind in KINDS:
        return InputError(field, f"{_shown(given)} is not {KINDS[kind]}", f"give {KINDS[kind]}")
    if kind in ("enum", "literal_error"):
        return InputError(field, f"{_shown(given)} is not allowed", f"use {context['expected']}")
    if kind in BOUNDS:
        key, words = BOUNDS[kind]
        return InputError(field, f"{_shown(given)} is out of range", f"give {words} {context[key]:g}")
    if kind in LENGTHS:
        key, words, unit = LENGTHS[kind]
        unit = SINGULAR[unit] if context[key] == 1 else unit
        return InputError(field, f"{_shown(given)} is too {'short' if 'min' in key else 'long'}", f"give {words} {context[key]} {unit}")
    if kind == "string_pattern_mismatch":
        return InputError(field, f"{_shown(given)} has another form than this field needs", f"it must match {context['pattern']}")
    return InputError(field, details["msg"][:1].lower() + details["msg"][1:], f"the file has {_shown(given)}")


def _explain_rule(message: str, location: Location, document: Any, prefix: str) -> InputError:
    """Name the field of a rule's message in full.

    A rule knows its own object only: it says `training: give …` or `model.revision: …` or `path: …`, with names that either
    repeat the end of the location or stand inside the object; a name that is neither describes the object.
    """
    head, separator, problem = message.partition(": ")
    if not separator:
        return InputError(dotted((prefix, *location)), message)
    names = [part for part in (prefix, *location) if isinstance(part, str)]
    wanted = head.split(".")
    for count in range(min(len(names), len(wanted)), 0, -1):
        if names[-count:] == wanted[:count]:
            return InputError(dotted((prefix, *location, *wanted[count:])), problem)
    value = _value_at(document, location)
    if isinstance(value, Mapping) and wanted[0] in value:
        return InputError(dotted((prefix, *location, *wanted)), problem)
    return InputError(dotted((prefix, *location)), problem)


def _value_at(document: Any, location: Location) -> Any:
    for part in location:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def _type_at(model: Any, location: Location) -> Any:
    """Return the model class at `location`, or None where there is none."""
    for part in location:
        if isinstance(part, int):
            arguments = typing.get_args(model)
            model = _plain(arguments[0]) if arguments else None
        else:
            field = _fields(model).get(part)
            model = _plain(field.annotation) if field else None
    return model


def _plain(annotation: Any) -> Any:
    """Take `None` and `Annotated` away from a type."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _plain(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return _plain(next(argument for argument in typing.get_args(annotation) if argument is not types.NoneType))
    return annotation


def _fields(model: Any) -> dict[str, FieldInfo]:
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return {}
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "…"
