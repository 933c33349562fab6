"""The documentation of every field of a FineTuneJob, read from the same schema that the CRD has.

`finetune explain` prints it and docs/fields.md is written from it, so that neither can say what the API server does not enforce.
Pure. Test: tests/finetune/api/test_fielddocs.py.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from finetune.api.crd import resource_schema
from finetune.api.schema import Schema
from finetune.api.spec import KIND, PLURAL, SHORT_NAME

ENTRY = "[]"
"""Stands behind the name of a list: `spec.data.train[]` is one entry of it."""
RESOURCE_NAMES = (KIND.lower(), PLURAL, SHORT_NAME)
NEEDED_ON_A_CLUSTER = ("spec.output", "spec.output.persistentVolumeClaim")
"""Required by the API server alone: for `finetune run`, the folder of --output takes the place of the claim."""
OF_KUBERNETES = {
    "apiVersion": "Version of this schema.",
    "kind": f"Always {KIND}.",
    "metadata": "Name, namespace, labels and annotations, as of every Kubernetes object.",
}


@dataclass(frozen=True)
class FieldDoc:
    """What is known of one field. `path` is empty for the whole resource; `members` are those of an object or of a list's entries."""

    path: str
    kind: str
    """As kubectl writes it: string, integer, Object, []Object, map[string]string."""
    description: str = ""
    required: bool = False
    default: str | bool | float | None = None
    allowed: str = ""
    """Values or limits, in words; empty where everything of the kind is."""
    rules: tuple[str, ...] = ()
    """What has to hold between members, in the API server's words."""
    members: tuple["FieldDoc", ...] = ()

    @property
    def name(self) -> str:
        """The last part of the path, without the mark of a list."""
        return self.path.rsplit(".", 1)[-1].removesuffix(ENTRY)

    @property
    def need(self) -> str:
        """Where the field is required: "required", "required on a cluster", or nothing."""
        if not self.required or not self.path:
            return ""
        return "required on a cluster" if self.path in NEEDED_ON_A_CLUSTER else "required"

    def shown_default(self) -> str:
        """Return the default as it would be written in YAML; empty where there is none."""
        return "" if self.default is None else json.dumps(self.default) if self.default == "" else _plain(self.default)

    def member(self, name: str) -> "FieldDoc | None":
        """Return the member of that name."""
        return next((member for member in self.members if member.name == name), None)

    def below(self) -> Iterator["FieldDoc"]:
        """Yield this field and all below it, depth first."""
        yield self
        for member in self.members:
            yield from member.below()


class UnknownFieldError(Exception):
    """No field has this path. `parent` is the last one that exists, `name` what it does not have."""

    def __init__(self, parent: FieldDoc, name: str) -> None:
        self.parent, self.name = parent, name
        super().__init__(f"{parent.path or KIND} has no field {name}")


def document_resource() -> FieldDoc:
    """Return the documentation of the whole resource."""
    return _document("", resource_schema(), required=True)


def find(resource: FieldDoc, path: str) -> FieldDoc:
    """Return the field at `path`: `spec.training`, `training`, `data.train[0].columns` or `ftj.status.progress`.

    Raises UnknownFieldError where there is none.
    """
    names = [name for part in path.split(".") if (name := re.sub(r"\[[^\]]*\]$", "", part))]
    if names and names[0].lower() in RESOURCE_NAMES:
        names = names[1:]
    if names and resource.member(names[0]) is None:
        names = ["spec", *names]
    found = resource
    for name in names:
        inner = found.member(name)
        if inner is None:
            raise UnknownFieldError(found, name)
        found = inner
    return found


def _document(path: str, schema: Schema, *, required: bool) -> FieldDoc:
    holder, inner_path = schema, path
    if schema.get("type") == "array" and schema["items"].get("properties"):
        holder, inner_path = schema["items"], path + ENTRY
    needed = holder.get("required", [])
    members = tuple(
        _document(f"{inner_path}.{name}" if inner_path else name, child, required=name in needed)
        for name, child in holder.get("properties", {}).items()
    )
    rules = [*holder.get("x-kubernetes-validations", []), *(schema.get("x-kubernetes-validations", []) if holder is not schema else [])]
    return FieldDoc(
        path=inner_path,
        kind=_kind(schema),
        description=schema.get("description") or holder.get("description") or OF_KUBERNETES.get(path, ""),
        required=required,
        default=schema.get("default"),
        allowed=_allowed(schema),
        rules=tuple(rule["message"] for rule in rules if "oldSelf" not in rule["rule"]),
        members=members,
    )


def _kind(schema: Mapping[str, Any]) -> str:
    kind = str(schema["type"])
    if kind == "array":
        return f"[]{_kind(schema['items'])}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"map[string]{_kind(inner)}" if inner else "Object"
    return kind


def _allowed(schema: Mapping[str, Any]) -> str:
    if schema["type"] == "array":
        inner = _allowed(schema["items"])
        return ", ".join(filter(None, [_counted(schema, "Items", "entries"), f"each {inner}" if inner else ""]))
    if "enum" in schema:
        return " | ".join(_plain(value) for value in schema["enum"])
    if schema["type"] == "object":
        return _counted(schema, "Properties", "entries")
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    limits = [
        "" if lowest is None else f"{'more than' if schema.get('exclusiveMinimum') else 'at least'} {_plain(lowest)}",
        "" if highest is None else f"{'less than' if schema.get('exclusiveMaximum') else 'at most'} {_plain(highest)}",
        _counted(schema, "Length", "characters"),
        f"matching {schema['pattern']}" if "pattern" in schema else "",
        "a time as in RFC 3339" if schema.get("format") == "date-time" else "",
    ]
    return ", ".join(filter(None, limits))


def _counted(schema: Mapping[str, Any], what: str, unit: str) -> str:
    """Return the limits of a length or number of entries."""
    least, most = schema.get(f"min{what}"), schema.get(f"max{what}")
    if least is not None and least == most:
        return f"{least} {unit.removesuffix('s') if least == 1 and unit == 'characters' else unit}"
    if least and most:
        return f"{least} to {most} {unit}"
    return f"at most {most} {unit}" if most else f"at least {least} {unit}" if least else ""


def _plain(value: str | bool | float) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else f"{value:.12g}"
