"""What is found wrong with an object, on a document as Kubernetes writes them."""

from typing import Any

import pytest

from tests.builders import REMOVED, changed
from tests.packaging.apischema import ApiDescription

META = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "labels": {"type": "object", "additionalProperties": {"type": "string"}}},
}
SPEC = {
    "type": "object",
    "required": ["size", "parts"],
    "properties": {
        "size": {"type": "integer", "format": "int32"},
        "share": {"type": "number", "format": "double"},
        "on": {"type": "boolean"},
        "port": {"$ref": "#/definitions/IntOrString"},
        "key": {"type": "string", "format": "byte"},
        "time": {"type": "string", "format": "date-time"},
        "parts": {"type": "array", "items": {"$ref": "#/definitions/Part"}},
        "patch": {"type": "object"},
        "default": {"$ref": "#/definitions/Json"},
        "tomorrow": {"type": "string", "description": "This is an alpha field and requires enabling a gate."},
        "later": {"type": "string", "description": "What comes. (Alpha) Using this field requires a gate."},
        "version": {"type": "string", "description": "Sorted, GA before beta before alpha."},
    },
}


def operations(version: str) -> dict[str, Any]:
    kind = {"group": "shop.k8s.io", "version": version, "kind": "Widget"}
    body = {"in": "body", "name": "body", "schema": {"$ref": "#/definitions/Widget"}}
    create = {"x-kubernetes-action": "post", "x-kubernetes-group-version-kind": kind, "parameters": [body]}
    return {"get": {}, "post": create, "parameters": [{"in": "path", "name": "x"}]}


API = ApiDescription(
    {
        "paths": {f"/apis/shop.k8s.io/{version}/widgets": operations(version) for version in ("v1", "v2beta1")},
        "definitions": {
            "Widget": {
                "type": "object",
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"description": "Its metadata.", "$ref": "#/definitions/Meta"},
                    "spec": {"$ref": "#/definitions/Spec"},
                },
            },
            "Meta": META,
            "Spec": SPEC,
            "Part": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
            "IntOrString": {"type": "string", "format": "int-or-string"},
            "Json": {"description": "Any value."},
        },
    }
)
WIDGET: dict[str, Any] = {
    "apiVersion": "shop.k8s.io/v1",
    "kind": "Widget",
    "metadata": {"name": "a", "labels": {"b": "c"}},
    "spec": {
        "size": 1, "share": 1, "on": True, "port": 80, "key": "YQ==", "time": "2026-01-01T00:00:00.000000Z", "parts": [{"name": "x"}],
        "patch": {"any": [1]}, "default": [None, {"x": 1}], "version": "v1",
    },
}  # fmt: skip


def test_an_object_with_all_that_is_required_and_nothing_unknown_is_taken() -> None:
    assert API.objections(WIDGET) == []
    assert API.objections(changed(WIDGET, spec__port="http")) == []


def test_null_stands_for_a_field_that_is_not_given() -> None:
    assert API.objections(changed(WIDGET, spec__share=None)) == []
    assert API.objections(changed(WIDGET, spec__size=None)) == ["Widget a: .spec.size: missing"]


@pytest.mark.parametrize(
    ("path", "value", "objection"),
    [
        ("kind", "Gadget", "shop.k8s.io/v1 is not served"),
        ("apiVersion", "v1", "v1 is not served"),
        ("apiVersion", "shop.k8s.io/v2beta1", "shop.k8s.io/v2beta1 is not served"),
        ("colour", "red", ".colour: unknown field"),
        ("spec__colour", "red", ".spec.colour: unknown field"),
        ("spec__parts", [{"name": "x"}, {"name": "y", "weight": 1}], ".spec.parts[1].weight: unknown field"),
        ("spec__tomorrow", "x", ".spec.tomorrow: alpha, and dropped by default"),
        ("spec__later", "x", ".spec.later: alpha, and dropped by default"),
        ("spec__size", REMOVED, ".spec.size: missing"),
        ("spec__parts", [{}], ".spec.parts[0].name: missing"),
        ("spec__size", "1", '.spec.size: "1" is not int32'),
        ("spec__size", True, ".spec.size: true is not int32"),
        ("spec__size", 1.5, ".spec.size: 1.5 is not int32"),
        ("spec__size", 2**31, ".spec.size: 2147483648 is not int32"),
        ("spec__share", "much", '.spec.share: "much" is not double'),
        ("spec__on", "true", '.spec.on: "true" is not boolean'),
        ("spec__port", 1.5, ".spec.port: 1.5 is not int-or-string"),
        ("spec__key", "not base64", '.spec.key: "not base64" is not byte'),
        ("spec__time", "yesterday", '.spec.time: "yesterday" is not date-time'),
        ("spec__parts", {"name": "x"}, '.spec.parts: {"name": "x"} is not array'),
        ("spec__patch", "x", '.spec.patch: "x" is not object'),
        ("metadata__labels", {"b": 1}, ".metadata.labels.b: 1 is not string"),
    ],
)  # fmt: skip
def test_what_the_api_server_would_refuse_or_drop_is_named(path: str, value: Any, objection: str) -> None:
    assert API.objections(changed(WIDGET, **{path: value})) == [f"{'Gadget' if value == 'Gadget' else 'Widget'} a: {objection}"]


def test_a_path_is_served_with_the_methods_that_it_has_and_not_in_a_version_that_is_off_by_default() -> None:
    assert API.serves("/apis/shop.k8s.io/v1/widgets", "post")
    assert not API.serves("/apis/shop.k8s.io/v1/widgets", "delete")
    assert not API.serves("/apis/shop.k8s.io/v1/gadgets", "get")
    assert not API.serves("/apis/shop.k8s.io/v2beta1/widgets", "post")
