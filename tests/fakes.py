"""An API server in memory, behind the seam of controller.runtime.transport: `Client(FakeApi(), field_manager="test")`.

It stores any kind of object, pages lists, sends watch events, keeps resourceVersions and refuses what the real one refuses
because of them. It validates nothing and applies as if it merged. What it is told to do wrong, it does: see `fail`,
`cut_watches`, `compact`, `absent`, `black_hole`.
"""

import asyncio
import copy
import itertools
import json
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from controller.runtime.errors import Unreachable
from controller.runtime.resources import KubeObject, Resource
from controller.runtime.transport import Request, Response, Stream

Address = tuple[str | None, str]
"""Namespace and name."""


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


class FakeApi:
    """Transport whose answers come from memory. Each public attribute may be set by a test."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.absent: set[str] = set()
        """Resources (as `str(resource)` has them) that are not served."""
        self.black_hole = False
        """Nothing is answered any more, as when a firewall drops packets."""
        self.closed = False
        self._collections: dict[str, Collection] = defaultdict(Collection)
        self._versions = itertools.count(1)
        self.version = 0
        self._changed = asyncio.Event()
        self._cuts = 0
        self._failures: list[tuple[Callable[[Request], bool], Response | Exception]] = []
        self._pages: dict[str, list[KubeObject]] = {}

    def fail(
        self,
        answer: Response | Exception,
        *,
        times: int = 1,
        method: str = "",
        path: str = "",
        query: str | None = None,
        watch: bool | None = None,
    ) -> None:
        """Answer the next `times` requests of this kind with `answer`, or raise it."""

        def matches(request: Request) -> bool:
            is_watch = "watch" in request.query
            asked = query is None or query in request.query
            return asked and method in ("", request.method) and path in request.path and watch in (None, is_watch)

        self._failures += [(matches, answer)] * times

    def cut_watches(self) -> None:
        """Break every open watch as a lost connection does."""
        self._cuts += 1
        self._wake()

    def compact(self, resource: Resource) -> None:
        """Forget the history: watches from before now are too old."""
        self._collections[_collection(resource)].oldest = self.version
        self._collections[_collection(resource)].events.clear()

    def put(self, resource: Resource, item: Mapping[str, Any], *, silent: bool = False) -> KubeObject:
        """Create or replace an object; `silent`: as if the event had been lost."""
        return self._store(_collection(resource), copy.deepcopy(dict(item)), silent=silent)

    def remove(self, resource: Resource, namespace: str | None, name: str, *, silent: bool = False) -> None:
        """Delete an object; `silent`: as if the event had been lost."""
        self._delete(_collection(resource), (namespace, name), silent=silent)

    def bookmark(self, resource: Resource) -> None:
        """Let watches know that they are up to date, at a new resourceVersion."""
        self.version = next(self._versions)
        item = {"metadata": {"resourceVersion": str(self.version)}}
        self._collections[_collection(resource)].events.append((self.version, "BOOKMARK", item))
        self._wake()

    def objects(self, resource: Resource) -> list[KubeObject]:
        """Return all stored objects of a kind."""
        return list(self._collections[_collection(resource)].objects.values())

    def watches(self) -> list[Request]:
        """Return the watch requests so far."""
        return [request for request in self.requests if "watch" in request.query]

    async def send(self, request: Request) -> Response:
        await self._receive(request)
        for index, (matches, answer) in enumerate(self._failures):
            if matches(request):
                del self._failures[index]
                if isinstance(answer, Exception):
                    raise answer
                return answer
        target = Target.of(request.path)
        if _served_name(target.collection) in self.absent:
            return Response(404, b"404 page not found\n")
        answers = {"GET": self._get, "POST": self._post, "PUT": self._put, "PATCH": self._patch, "DELETE": self._delete_request}
        return answers[request.method](request, target)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Stream]:
        await self._receive(request)
        for index, (matches, answer) in enumerate(self._failures):
            if matches(request):
                del self._failures[index]
                if isinstance(answer, Exception):
                    raise answer
                yield Stream(answer.status, _lines(answer.body))
                return
        target = Target.of(request.path)
        if _served_name(target.collection) in self.absent:
            yield Stream(404, _lines(b"404 page not found\n"))
            return
        yield Stream(200, self._events(request, target))

    async def close(self) -> None:
        self.closed = True

    async def _receive(self, request: Request) -> None:
        self.requests.append(request)
        await asyncio.sleep(0)
        if self.black_hole:
            await asyncio.sleep(request.read_timeout_seconds)
            raise Unreachable(f"{request}: no answer")

    async def _events(self, request: Request, target: Target) -> AsyncIterator[bytes]:
        collection, cuts = self._collections[target.collection], self._cuts
        position = int(request.query["resourceVersion"])
        if position < collection.oldest:
            yield _line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"})
            return
        end = asyncio.get_running_loop().time() + float(request.query["timeoutSeconds"])
        while asyncio.get_running_loop().time() < end:
            if self._cuts != cuts:
                raise Unreachable("connection lost")
            new = [event for event in collection.events if event[0] > position]
            for version, kind, item in new:
                position = version
                if kind == "BOOKMARK" or _selected(item, request, target):
                    yield _line(kind, item)
            if not new:
                try:
                    async with asyncio.timeout_at(end):
                        await self._changed.wait()
                except TimeoutError:
                    return

    def _get(self, request: Request, target: Target) -> Response:
        collection = self._collections[target.collection]
        if target.name is not None:
            item = collection.objects.get((target.namespace, target.name))
            return _json(200, item) if item else _status(404, "NotFound", "not found", target)
        token = request.query.get("continue")
        if token is None:
            items = [item for _, item in sorted(collection.objects.items()) if _selected(item, request, target)]
            version = str(self.version)
        elif token in self._pages:
            items, version = self._pages.pop(token), token.split(":")[0]
        else:
            return _status(410, "Expired", "the continue token is too old", target)
        limit = int(request.query.get("limit", len(items) or 1))
        metadata = {"resourceVersion": version}
        if items[limit:]:
            metadata["continue"] = f"{version}:{uuid.uuid4().hex}"
            self._pages[metadata["continue"]] = items[limit:]
        return _json(200, {"metadata": metadata, "items": items[:limit]})

    def expire_pages(self) -> None:
        """Make every continue token too old."""
        self._pages.clear()

    def _post(self, request: Request, target: Target) -> Response:
        name = request.body["metadata"]["name"]
        if (target.namespace, name) in self._collections[target.collection].objects:
            return _status(409, "AlreadyExists", f"{name} already exists", target)
        return _json(201, self._store(target.collection, copy.deepcopy(request.body)))

    def _put(self, request: Request, target: Target) -> Response:
        old = self._collections[target.collection].objects.get((target.namespace, str(target.name)))
        if old is None:
            return _status(404, "NotFound", "not found", target)
        if request.body["metadata"].get("resourceVersion") not in (None, old["metadata"]["resourceVersion"]):
            return _status(409, "Conflict", "the object has been modified", target)
        return _json(200, self._store(target.collection, copy.deepcopy(request.body)))

    def _patch(self, request: Request, target: Target) -> Response:
        old = self._collections[target.collection].objects.get((target.namespace, str(target.name)))
        if old is None and "apply" not in request.content_type:
            return _status(404, "NotFound", "not found", target)
        version = (request.body.get("metadata") or {}).get("resourceVersion")
        if old is not None and version not in (None, old["metadata"]["resourceVersion"]):
            return _status(409, "Conflict", "the object has been modified", target)
        return _json(200, self._store(target.collection, _merge(old or {}, request.body)))

    def _delete_request(self, request: Request, target: Target) -> Response:
        address = (target.namespace, str(target.name))
        old = self._collections[target.collection].objects.get(address)
        if old is None:
            return _status(404, "NotFound", "not found", target)
        wanted = (request.body or {}).get("preconditions", {})
        if any(old["metadata"][member] != value for member, value in wanted.items()):
            return _status(409, "Conflict", "the precondition does not hold", target)
        self._delete(target.collection, address)
        return _json(200, {"kind": "Status", "status": "Success"})

    def _store(self, path: str, item: KubeObject, *, silent: bool = False) -> KubeObject:
        collection = self._collections[path]
        metadata = item["metadata"]
        address = (metadata.get("namespace"), metadata["name"])
        old = collection.objects.get(address)
        self.version = next(self._versions)
        metadata["uid"] = old["metadata"]["uid"] if old else metadata.get("uid") or str(uuid.uuid4())
        metadata["resourceVersion"] = str(self.version)
        collection.objects[address] = item
        if not silent:
            collection.events.append((self.version, "MODIFIED" if old else "ADDED", copy.deepcopy(item)))
            self._wake()
        return item

    def _delete(self, path: str, address: Address, *, silent: bool = False) -> None:
        item = copy.deepcopy(self._collections[path].objects.pop(address))
        self.version = next(self._versions)
        item["metadata"]["resourceVersion"] = str(self.version)
        if not silent:
            self._collections[path].events.append((self.version, "DELETED", item))
            self._wake()

    def _wake(self) -> None:
        # Watches that waited see it; the next ones to wait get a fresh event.
        self._changed.set()
        self._changed = asyncio.Event()


def _collection(resource: Resource) -> str:
    return resource.path().strip("/")


def _served_name(collection: str) -> str:
    parts = collection.split("/")
    return parts[-1] if parts[0] == "api" else f"{parts[-1]}.{parts[1]}"


def _selected(item: KubeObject, request: Request, target: Target) -> bool:
    selector = request.query.get("labelSelector")
    labels = item["metadata"].get("labels") or {}
    name, _, value = (selector or "").partition("=")
    labelled = selector is None or (name in labels and value in ("", labels[name]))
    return labelled and target.namespace in (None, item["metadata"].get("namespace"))


def _merge(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


def _json(status: int, value: Any) -> Response:
    return Response(status, json.dumps(value).encode())


def _status(code: int, reason: str, message: str, target: Target) -> Response:
    details = {"name": target.name or "", "kind": target.collection.split("/")[-1]}
    return _json(code, {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details})


def _line(kind: str, item: KubeObject) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode()


async def _lines(body: bytes) -> AsyncIterator[bytes]:
    for line in body.splitlines():
        yield line
