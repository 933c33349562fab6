"""Structural schemas from pydantic models: what the API server takes, and a refusal of what it would not.

pydantic speaks JSON Schema 2020; a CustomResourceDefinition wants its own dialect without references, unions, titles and
null. Everything that has a counterpart is converted, everything else stops the generator: a schema that the API server
prunes in silence would be worse than none. No client code. Test: tests/finetune/api/test_schema.py.
"""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel

from finetune.api.base import WireModel

Schema = dict[str, Any]

CARRIED = frozenset({
    "type", "description", "format", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
    "minProperties", "maxProperties", "required",
})  # fmt: skip
"""Keywords that mean the same in both dialects."""
DROPPED = frozenset({"title", "default", "$ref", "anyOf", "const", "properties", "items", "additionalProperties"})
"""Keywords that are converted by hand, or say nothing to the API server."""
EXCLUSIVE = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}


class SchemaError(Exception):
    """A model has something that a structural schema cannot express; the message names the field."""


def structural_schema(model: type[WireModel], list_keys: Mapping[tuple[str, str], list[str]] | None = None) -> Schema:
    """Return the structural schema of `model`, each model's rules as CEL beside the object that they guard.

    `list_keys` names lists that are maps: {(model name, field on the wire): key fields}.
    """
    document = model.model_json_schema(by_alias=True, mode="validation")
    converter = _Converter(document.get("$defs", {}), _models_by_name(model), dict(list_keys or {}))
    schema = converter.convert({**document, "$ref": f"#/$defs/{model.__name__}"} if document.get("$ref") else document, model.__name__)
    return converter.with_rules(schema, model.__name__)


def cel_rule(rule: str, message: str, **more: str) -> Schema:
    """Return one entry of x-kubernetes-validations."""
    return {"rule": rule, "message": message, **more}


class _Converter:
    def __init__(
        self, definitions: Mapping[str, Schema], models: Mapping[str, type[WireModel]], list_keys: dict[tuple[str, str], list[str]]
    ) -> None:
        self._definitions, self._models, self._list_keys = definitions, models, list_keys

    def convert(self, node: Schema, where: str) -> Schema:
        """Return `node` in the API server's dialect; `where` names it in errors."""
        if "$ref" in node:
            return self._convert_reference(node, where)
        if "anyOf" in node:
            return self._convert_optional(node, where)
        unknown = set(node) - CARRIED - DROPPED - set(EXCLUSIVE) - {"$defs"}
        if unknown:
            raise SchemaError(
                f"{where}: a structural schema has no {', '.join(sorted(unknown))}; use an optional member per variant and a rule"
            )
        schema = {key: value for key, value in node.items() if key in CARRIED}
        for exclusive, inclusive in EXCLUSIVE.items():
            if exclusive in node:
                schema |= {inclusive: node[exclusive], exclusive: True}
        if "const" in node:
            schema["enum"] = [node["const"]]
        if schema.get("type") == "integer":
            schema["format"] = "int64"
        self._convert_children(node, schema, where)
        return _with_default(node, schema, where)

    def _convert_reference(self, node: Schema, where: str) -> Schema:
        name = node["$ref"].rsplit("/", 1)[-1]
        schema = self.with_rules(self.convert(self._definitions[name], name), name)
        if "description" in node:
            schema["description"] = node["description"]
        return _with_default(node, schema, where)

    def _convert_optional(self, node: Schema, where: str) -> Schema:
        variants = [variant for variant in node["anyOf"] if variant != {"type": "null"}]
        if len(variants) != 1:
            raise SchemaError(f"{where}: a union of {len(variants)} types; use an optional member per variant and a rule")
        outer = {key: value for key, value in node.items() if key in ("description", "default")}
        return self.convert({**variants[0], **outer}, where)

    def _convert_children(self, node: Schema, schema: Schema, where: str) -> None:
        if node.get("properties"):
            schema["properties"] = {}
            for name, child in node["properties"].items():
                converted = self.convert(child, f"{where}.{name}")
                keys = self._list_keys.pop((where, name), None)
                if keys:
                    converted |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys}
                schema["properties"][name] = converted
        elif isinstance(node.get("additionalProperties"), dict):
            schema["additionalProperties"] = self.convert(node["additionalProperties"], f"{where}[*]")
        elif node.get("type") == "object" and node.get("additionalProperties") is not False:
            raise SchemaError(f"{where}: an object of anything would be pruned; say what it holds")
        if "items" in node:
            schema["items"] = self.convert(node["items"], f"{where}[]")

    def with_rules(self, schema: Schema, name: str) -> Schema:
        """Return the schema of the model called `name` with its rules."""
        model = self._models.get(name)
        if model is None or not model.rules:
            return schema
        return {**schema, "x-kubernetes-validations": [cel_rule(rule.cel, rule.message) for rule in model.rules]}


def _with_default(node: Schema, schema: Schema, where: str) -> Schema:
    default = node.get("default")
    if default is None:
        return schema
    if isinstance(default, (dict, list)):
        raise SchemaError(f"{where}: defaults of objects and lists are not for the schema; make it optional and apply the default in code")
    return {**schema, "default": default}


def _models_by_name(root: type[WireModel]) -> dict[str, type[WireModel]]:
    models: dict[str, type[WireModel]] = {}
    for model in _reachable(root, set()):
        if models.setdefault(model.__name__, model) is not model:
            raise SchemaError(f"two models are called {model.__name__}: the schema could not distinguish their rules")
    return models


def _reachable(model: type[WireModel], seen: set[type[WireModel]]) -> Iterator[type[WireModel]]:
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for child in _model_types(field.annotation):
            yield from _reachable(child, seen)


def _model_types(annotation: Any) -> Iterator[type[WireModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not issubclass(annotation, WireModel):
            raise SchemaError(f"{annotation.__name__} is not a WireModel")
        yield annotation
    for argument in get_args(annotation):
        yield from _model_types(argument)
