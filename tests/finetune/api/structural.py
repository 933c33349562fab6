"""What the API server does with a structural schema, rules left out: types, bounds, patterns, required and unknown fields."""

import re
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]


def faults(value: Any, schema: Schema, field: str = "spec") -> Iterator[str]:
    """Yield what of `value` the schema refuses; members that are null count as absent."""
    if not _is(value, schema["type"]):
        yield f"{field}: not of type {schema['type']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{field}: not one of {schema['enum']}"
    if schema["type"] == "string":
        # Go's $ matches at the very end only.
        if "pattern" in schema and not re.search(schema["pattern"].replace("$", r"\Z"), value):
            yield f"{field}: does not match {schema['pattern']}"
        yield from _sized(value, schema.get("minLength", 0), schema.get("maxLength"), field)
    elif schema["type"] in ("integer", "number"):
        yield from _bounded(value, schema, field)
    elif schema["type"] == "array":
        yield from _sized(value, schema.get("minItems", 0), schema.get("maxItems"), field)
        for index, entry in enumerate(value):
            yield from faults(entry, schema["items"], f"{field}[{index}]")
    elif schema["type"] == "object":
        yield from _members(value, schema, field)


def _members(value: dict[str, Any], schema: Schema, field: str) -> Iterator[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    yield from (f"{field}.{name}: missing" for name in schema.get("required", []) if value.get(name) is None)
    for name, member in value.items():
        known = properties.get(name, others)
        if known is None:
            yield f"{field}.{name}: unknown"
        elif member is not None:
            yield from faults(member, known, f"{field}.{name}")


def _is(value: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        return isinstance(value, int | (int if kind == "integer" else float)) and not isinstance(value, bool)
    return isinstance(value, {"object": dict, "array": list, "string": str, "boolean": bool}[kind])


def _sized(value: Any, least: int, most: int | None, field: str) -> Iterator[str]:
    if len(value) < least or (most is not None and len(value) > most):
        yield f"{field}: of length {len(value)}"


def _bounded(value: float, schema: Schema, field: str) -> Iterator[str]:
    least, most = schema.get("minimum"), schema.get("maximum")
    low = least is not None and (value < least or (value == least and schema.get("exclusiveMinimum")))
    high = most is not None and (value > most or (value == most and schema.get("exclusiveMaximum")))
    if low or high:
        yield f"{field}: out of bounds"
