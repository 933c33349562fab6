"""Says what the API server of a Kubernetes version would refuse or drop of an object, by that version's OpenAPI document.

Strict, as `kubectl apply --validate=strict`: unknown and missing fields, types, kinds that are not served. Stricter in one thing: what
is alpha, or a beta version of an API, is not there unless an administrator switches it on, so it counts as not served. Rules that
the API server has only in its code (names, combinations of fields, words that a field may have) are not in the document.
Test: tests/packaging/test_apischema.py.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

NOT_BY_DEFAULT = re.compile("alpha|beta")
ALPHA = re.compile(r"\bis (an? )?(optional, )?alpha\b|\(alpha\)|\balpha, gated by", re.IGNORECASE)
"""How descriptions of fields say it; others name alpha as a part of some version."""
CALLED_ALPHA = {"x-kubernetes-validations"}
"""Described as alpha in 1.29 and 1.30, where it is on for good: https://github.com/kubernetes/enhancements/issues/2876."""
CLAIM_TEMPLATES = "/apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaimtemplates"
CALLED_ALPHA_BESIDE_CLAIMS = {"resourceClaims"}
"""A pod's field that is described as alpha also where claims are on by default, which serves their kinds as v1: from 1.34 on."""
PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": Mapping,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
INT_OR_STRING = "int-or-string"
POD_TEMPLATE = "io.k8s.api.core.v1.PodTemplateSpec"


class ApiDescription:
    """What one version serves, and how its objects look."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._definitions: Mapping[str, Any] = document["definitions"]
        self._paths: Mapping[str, Any] = document["paths"]
        self._called_alpha = CALLED_ALPHA | (CALLED_ALPHA_BESIDE_CLAIMS if self.serves(CLAIM_TEMPLATES, "get") else set())
        self._created: dict[tuple[str, str, str], str] = {}
        for operations in self._paths.values():
            create = operations.get("post", {})
            if create.get("x-kubernetes-action") == "post":  # others connect to a pod
                served = create["x-kubernetes-group-version-kind"]
                parameters = (*create["parameters"], *operations["parameters"])
                [body] = [each["schema"] for each in parameters if each.get("name") == "body"]
                self._created[served["group"], served["version"], served["kind"]] = _name(body["$ref"])

    @classmethod
    def read(cls, path: Path) -> "ApiDescription":
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def serves(self, path: str, method: str) -> bool:
        """Whether a path, such as `/api/v1/namespaces/{namespace}/pods`, takes a method of HTTP in lower case."""
        return not NOT_BY_DEFAULT.search(path) and method in self._paths.get(path, {})

    def objections(self, item: Mapping[str, Any]) -> list[str]:
        """What is wrong with an object that is created, each beginning with its kind and name."""
        version, kind = str(item.get("apiVersion")), str(item.get("kind"))
        prefix = f"{kind} {item.get('metadata', {}).get('name')}: "
        group, _, number = version.rpartition("/")
        definition = self._created.get((group, number, kind))
        if definition is None or NOT_BY_DEFAULT.search(number):
            return [f"{prefix}{version} is not served"]
        return [prefix + each for each in self.objections_to(item, definition)]

    def objections_to(self, value: Any, definition: str, path: str = "") -> list[str]:
        """What is wrong with a value that is to be of this definition."""
        return list(self._walk(value, self._definitions[definition], path))

    def _walk(self, value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
        if "$ref" in schema:
            schema = self._definitions[_name(schema["$ref"])]
        expected = schema.get("type")
        if expected is None:
            return
        if schema.get("format") == INT_OR_STRING and _is(value, "integer"):
            return
        if not _is(value, expected):
            yield f"{path}: {json.dumps(value, default=str)} is not {schema.get('format', expected)}"
        elif expected == "object":
            yield from self._members(value, schema, path)
        elif expected == "array":
            for index, each in enumerate(value):
                yield from self._walk(each, schema["items"], f"{path}[{index}]")
        elif not _has_format(value, schema.get("format")):
            yield f"{path}: {json.dumps(value)} is not {schema['format']}"

    def _members(self, value: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> Iterator[str]:
        known, others = schema.get("properties"), schema.get("additionalProperties")
        if known is None and others is None:
            return  # anything, such as a patch
        given = {name: each for name, each in value.items() if each is not None}  # null stands for a field that is not given
        for name in schema.get("required", []):
            if name not in given:
                yield f"{path}.{name}: missing"
        for name, each in given.items():
            inner = (known or {}).get(name, others)
            if inner is None:
                yield f"{path}.{name}: unknown field"
            elif name not in self._called_alpha and ALPHA.search(inner.get("description", "")):
                yield f"{path}.{name}: alpha, and dropped by default"
            else:
                yield from self._walk(each, inner, f"{path}.{name}")


def _name(reference: str) -> str:
    return reference.removeprefix("#/definitions/")


def _is(value: Any, expected: str) -> bool:
    return isinstance(value, PYTHON_TYPES[expected]) and (expected == "boolean" or not isinstance(value, bool))


def _has_format(value: Any, name: str | None) -> bool:
    if name in {"int32", "int64"}:
        bits = int(name.removeprefix("int")) - 1
        return -(2**bits) <= value < 2**bits
    try:
        if name == "byte":
            base64.b64decode(value, validate=True)
        elif name == "date-time":
            datetime.fromisoformat(value)
    except (ValueError, binascii.Error):
        return False
    return True
