"""How objects travel between a client and tests/fakes.py: paths, selectors, patches and answers."""

import copy
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from controller.runtime.resources import KubeObject, Resource
from controller.runtime.rights import Right
from controller.runtime.transport import Request, Response

Address = tuple[str | None, str]
"""Namespace and name."""
Asked = tuple[str, str, str]
"""API group, resource with its subresource, verb."""
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Target:
    """What a path names: the collection's path without its namespace, then the rest."""

    collection: str
    namespace: str | None
    name: str | None
    subresource: str | None

    @classmethod
    def of(cls, path: str) -> "Target":
        parts = path.strip("/").split("/")
        root, parts = (parts[:2], parts[2:]) if parts[0] == "api" else (parts[:3], parts[3:])
        namespace = None
        if len(parts) > 2 and parts[0] == "namespaces":
            namespace, parts = parts[1], parts[2:]
        return cls("/".join([*root, parts[0]]), namespace, *[*parts[1:], None, None][:2])


@dataclass
class Collection:
    """Objects of one kind and what happened to them."""

    objects: dict[Address, KubeObject] = field(default_factory=dict)
    events: list[tuple[int, str, KubeObject]] = field(default_factory=list)
    oldest: int = 0
    """A watch from an earlier resourceVersion is refused."""


def asked(request: Request) -> Asked:
    """What RBAC is asked for a request."""
    target = Target.of(request.path)
    *_, plural = target.collection.split("/")
    group = "" if target.collection.startswith("api/") else target.collection.split("/")[1]
    reads = "get" if target.name else "watch" if "watch" in request.query else "list"
    return group, f"{plural}/{target.subresource}" if target.subresource else plural, VERBS.get(request.method, reads)


def as_asked(declared: Iterable[Right]) -> frozenset[Asked]:
    return frozenset((right.resource.group, right.plural, right.verb) for right in declared)


def collection_of(resource: Resource) -> str:
    return resource.path().strip("/")


def served_name(collection: str) -> str:
    parts = collection.split("/")
    return parts[-1] if parts[0] == "api" else f"{parts[-1]}.{parts[1]}"


def is_selected(item: KubeObject, request: Request, target: Target) -> bool:
    selector = request.query.get("labelSelector")
    labels = item["metadata"].get("labels") or {}
    name, _, value = (selector or "").partition("=")
    labeled = selector is None or (name in labels and value in ("", labels[name]))
    return labeled and target.namespace in (None, item["metadata"].get("namespace"))


def merge_patch(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def json_response(status: int, value: Any) -> Response:
    return Response(status, json.dumps(value).encode())


def status_response(code: int, reason: str, message: str, target: Target) -> Response:
    details = {"name": target.name or "", "kind": target.collection.split("/")[-1]}
    return json_response(code, {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details})


def event_line(kind: str, item: KubeObject) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode()


async def split_lines(body: bytes) -> AsyncIterator[bytes]:
    for line in body.splitlines():
        yield line
