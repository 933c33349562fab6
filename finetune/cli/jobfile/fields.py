"""Walks the models of a job along the paths of a document: which type is where, and which fields it has. Pure.

Tests: tests/finetune/cli/jobfile/test_problems.py.
"""

import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Location = tuple[int | str, ...]


def without_nulls(value: Any, model: Any) -> Any:
    """Take fields of `model` that are null away from `value`, as the API server does before it applies defaults."""
    if isinstance(value, dict):
        fields = fields_of(model)
        left = {name: member for name, member in value.items() if member is not None or (fields and name not in fields)}
        return {name: without_nulls(member, type_at(model, (name,))) for name, member in left.items()}
    return [without_nulls(entry, type_at(model, (0,))) for entry in value] if isinstance(value, list) else value


def every_field(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every field below `model`, the upper ones first; a list's entries count as `name[]`."""
    below = []
    for name, field in fields_of(model).items():
        yield (*path, name)
        inner, listed = plain_type(field.annotation), False
        if typing.get_origin(inner) is list:
            inner, listed = plain_type(typing.get_args(inner)[0]), True
        if fields_of(inner):
            below.append((inner, (*path, f"{name}[]" if listed else name)))
    for inner, inner_path in below:
        yield from every_field(inner, inner_path)


def value_at(document: Any, location: Location) -> Any:
    """Return what is at `location`, None where there is nothing."""
    for part in location:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def type_at(model: Any, location: Location) -> Any:
    """Return the model class at `location`, or None where there is none."""
    for part in location:
        if isinstance(part, int):
            arguments = typing.get_args(model)
            model = plain_type(arguments[0]) if arguments else None
        else:
            field = fields_of(model).get(part)
            model = plain_type(field.annotation) if field else None
    return model


def plain_type(annotation: Any) -> Any:
    """Take `None` and `Annotated` away from a type."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return plain_type(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return plain_type(next(argument for argument in typing.get_args(annotation) if argument is not types.NoneType))
    return annotation


def fields_of(model: Any) -> dict[str, FieldInfo]:
    """Return the fields of a model by their names on the wire; nothing for any other type."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return {}
    return {field.alias or name: field for name, field in model.model_fields.items()}
