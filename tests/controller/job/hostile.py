"""Every text that a job's definition has room for, and a valid job with each of them at a text of choice. Not a test.

The fields come from the generated definition, so that a new one is among them. A job around a field is put together from the schema: what
the field's parents need, and none of the alternatives to it.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError

from finetune.api import crd
from finetune.api.spec import FineTuneJobSpec
from tests.builders import SPEC
from tests.finetune.api.structural import faults

SCHEMA = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
KEY = "(key)"
"""Part of a place: the key of an entry in a map of the user's own names."""
Place = tuple[str | int, ...]

TEXTS = {
    "command": "$(touch /tmp/x)",
    "quote": '\'; touch /tmp/x; "`id`" #',
    "lines": "a\nb",
    "folder above": "../../etc/passwd",
    "name of the folder above": "..",
    "terminal": "a\x1b]0;x\x07\x9b31m\u202eb",
    "flag": "--flag",
    "long word": "a" * 70,
    "template": "{{ .Values.x }}",
}
BENIGN = ("org/model", "name", "1", "1Gi", "en", "Evicted", "a/b", ",", "finetune.dev/controller", "Say {text} anew")
"""Each field takes one of these."""
CONTEXTS: tuple[dict[str, Any], ...] = (
    {},
    {"task": "translation"},
    {"task": "text-classification"},
    {"task": "language-modeling"},
    {"method": {"osf": {}}},
    {"resources": {"tolerations": [{"operator": "Equal", "key": "gpu", "value": "yes"}]}},
)
"""Changes to the smallest job beside which fields are tried, for those that only go with something else."""
BESIDE: dict[str | int, dict[str, Any]] = {
    "sourceLanguage": {"targetLanguage": "en"},
    "targetLanguage": {"sourceLanguage": "en"},
    "delimiter": {"configMap": {"name": "rows", "key": "rows.csv"}},
}
"""What fields only go with, beside them."""


@dataclass(frozen=True, eq=False)
class Field:
    """A text of the definition. `place` is where it is, with 0 for the entry of a list."""

    place: Place
    schema: dict[str, Any]

    @property
    def name(self) -> str:
        """The field as messages name it."""
        return ".".join(str(part) for part in self.place).replace(".0", "[0]")

    @property
    def words(self) -> list[str]:
        """The field's own name, and that of the object that it is in where it has none, or where only the object is at fault."""
        named = [str(part) for part in self.place if part not in (0, KEY)]
        return named[-2:]


def fields() -> list[Field]:
    """Return every text of a job's spec that the definition does not choose from a list of words."""
    return list(_texts(SCHEMA, ()))


def _texts(schema: dict[str, Any], place: Place) -> Iterator[Field]:
    if schema["type"] == "string" and "enum" not in schema:
        yield Field(place, schema)
    elif schema["type"] == "array":
        yield from _texts(schema["items"], (*place, 0))
    elif schema["type"] == "object":
        for name, member in schema.get("properties", {}).items():
            yield from _texts(member, (*place, name))
        if "additionalProperties" in schema:
            yield Field((*place, KEY), {"type": "string"})
            yield from _texts(schema["additionalProperties"], (*place, "name"))


def with_text(field: Field, text: str, context: dict[str, Any]) -> dict[str, Any]:
    """Return a spec in which the field is `text`."""
    spec = copy.deepcopy({**SPEC, **context})
    inside: Any = spec
    schema = SCHEMA
    for depth, part in enumerate(field.place[:-1]):
        schema = schema["items"] if part == 0 else schema.get("properties", {}).get(part) or schema["additionalProperties"]
        following = field.place[depth + 1]
        fresh: Any = [None] if following == 0 else {}
        if part == 0:
            inside[0] = inside[0] if isinstance(inside[0], dict) else fresh
        elif not isinstance(inside.get(part), type(fresh)):
            inside[part] = fresh
        inside = inside[part]
        if isinstance(inside, dict):
            inside.update(BESIDE.get(following, {}))
            _complete(inside, schema, following)
    inside[text if field.place[-1] == KEY else field.place[-1]] = "x" if field.place[-1] == KEY else text
    return spec


def _complete(inside: dict[str, Any], schema: dict[str, Any], following: str | int) -> None:
    """Give an object what it needs, and take away what cannot be beside `following`."""
    rules = [rule["rule"] for rule in schema.get("x-kubernetes-validations", [])]
    for rule in rules:
        alternatives = [part.split(")")[0] for part in rule.split("has(self.")[1:]]
        if ".filter(given, given)" not in rule:
            continue
        if following in alternatives:
            for name in alternatives:
                if name != following:
                    inside.pop(name, None)
        elif rule.endswith("== 1") and not any(name in inside for name in alternatives):
            inside[alternatives[0]] = _smallest(schema["properties"][alternatives[0]])
    for name in schema.get("required", []):
        if name != following and name not in inside:
            inside[name] = _smallest(schema["properties"][name])


def _smallest(schema: dict[str, Any]) -> Any:
    """Return a value that a schema takes: a text, a number, a list of one, an object with what it needs."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "array":
        return [_smallest(schema["items"])]
    if schema["type"] == "object":
        filled: dict[str, Any] = {}
        _complete(filled, schema, "")
        return filled
    return {"string": "name", "integer": 1, "number": 1, "boolean": True}[schema["type"]]


@cache
def context_of(field: Field) -> tuple[dict[str, Any], str]:
    """Return the changes beside which the field takes a harmless text, and that text; LookupError if there are none."""
    tried = ""
    for context in CONTEXTS:
        for text in BENIGN:
            refused = refusals(with_text(field, text, context))
            if not refused:
                return context, text
            tried = tried or "; ".join(refused)
    raise LookupError(f"spec.{field.name}: no job of tests/controller/job/hostile.py takes a harmless text there: {tried}")


def refusals(spec: dict[str, Any]) -> list[str]:
    """Return what the definition's schema or the models refuse of a spec, each with its place."""
    found = list(faults(spec, SCHEMA))
    try:
        FineTuneJobSpec.model_validate_json(json.dumps(spec), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        found += [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return found
