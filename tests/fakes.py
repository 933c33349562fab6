"""An API server in memory, behind the seam of controller.runtime.transport: `Client(FakeApi(), field_manager="test")`.

It stores any kind of object, pages lists, sends watch events, keeps resourceVersions and refuses what the real one refuses
because of them. It validates nothing. What it is told to do wrong, it does: see `fail`,
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
from typing import Any, cast

from controller.kinds import RAY_CLUSTERS, RAY_JOBS
from controller.runtime.errors import Unreachable
from controller.runtime.resources import KubeObject, Resource
from controller.runtime.transport import Request, Response, Stream
from tests.fakewire import (
    Address,
    Asked,
    Collection,
    Target,
    asked,
    collection_of,
    event_line,
    is_selected,
    json_response,
    merge_patch,
    served_name,
    split_lines,
    status_response,
)

CREATED = "2026-03-01T11:59:00Z"
"""When every object came that does not say so itself."""


class FakeApi:
    """Transport whose answers come from memory. Each public attribute may be set by a test."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.absent: set[str] = set()
        """Resources (as `str(resource)` has them) that are not served."""
        self.leaving: set[str] = set()
        """Resources whose definition is being deleted: they are served, and new ones are not taken."""
        self.black_hole = False
        """Nothing is answered any more, as when a firewall drops packets."""
        self.slow_seconds = 0.0
        """How long every answer takes."""
        self.closed = False
        self.renewals = 0
        """How often new connections were asked for."""
        self.unknown_fields: Callable[[KubeObject], list[str]] = lambda item: []
        """Which fields of a new object its definition does not know."""
        self.admission: Callable[[KubeObject], object] = lambda item: None
        """A webhook: it may change the object that is to be created."""
        self.granted: frozenset[Asked] | None = None
        """What RBAC allows; None: everything."""
        self._collections: dict[str, Collection] = defaultdict(Collection)
        self._versions = itertools.count(1)
        self.version = 0
        self._changed = asyncio.Event()
        self._cuts = self._deaf = 0
        self._failures: list[list[Any]] = []
        """Which requests, what they get, and how often still."""
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

        self._failures.append([matches, answer, times])

    def heal(self) -> None:
        """Forget what `fail` has told to do wrong."""
        self._failures.clear()

    def cut_watches(self) -> None:
        """Break every open watch as a lost connection does."""
        self._cuts += 1
        self._wake()

    def deafen_watches(self) -> None:
        """Let no open watch ever say anything again, as when a firewall has forgotten its connection."""
        self._deaf += 1
        self._wake()

    def compact(self, resource: Resource) -> None:
        """Forget the history: watches from before now are too old."""
        self._collections[collection_of(resource)].oldest = self.version
        self._collections[collection_of(resource)].events.clear()

    def put(self, resource: Resource, item: Mapping[str, Any], *, silent: bool = False) -> KubeObject:
        """Create or replace an object; `silent`: as if the event had been lost."""
        return self._store(collection_of(resource), copy.deepcopy(dict(item)), silent=silent)

    def remove(self, resource: Resource, namespace: str | None, name: str, *, silent: bool = False) -> None:
        """Delete an object; `silent`: as if the event had been lost."""
        self._delete(collection_of(resource), (namespace, name), silent=silent)

    def bookmark(self, resource: Resource) -> None:
        """Let watches know that they are up to date, at a new resourceVersion."""
        self.version = next(self._versions)
        item = {"metadata": {"resourceVersion": str(self.version)}}
        self._collections[collection_of(resource)].events.append((self.version, "BOOKMARK", item))
        self._wake()

    def objects(self, resource: Resource) -> list[KubeObject]:
        """Return all stored objects of a kind."""
        return list(self._collections[collection_of(resource)].objects.values())

    def watches(self) -> list[Request]:
        """Return the watch requests so far."""
        return [request for request in self.requests if "watch" in request.query]

    async def send(self, request: Request) -> Response:
        await self._receive(request)
        answer = self._failure(request)
        if answer is not None:
            return answer
        if len(request.path.split("/")) == 4 and request.path.startswith("/apis/"):
            return self._discovery(request.path.split("/")[2])
        target = Target.of(request.path)
        if served_name(target.collection) in self.absent:
            return Response(404, b"404 page not found\n")
        if (refusal := self._forbidden(request, target)) is not None:
            return refusal
        answers = {"GET": self._get, "POST": self._post, "PUT": self._put, "PATCH": self._patch, "DELETE": self._delete_request}
        return answers[request.method](request, target)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Stream]:
        await self._receive(request)
        answer = self._failure(request)
        if answer is not None:
            yield Stream(answer.status, split_lines(answer.body), answer.headers)
            return
        target = Target.of(request.path)
        if served_name(target.collection) in self.absent:
            yield Stream(404, split_lines(b"404 page not found\n"))
            return
        if (refusal := self._forbidden(request, target)) is not None:
            yield Stream(refusal.status, split_lines(refusal.body), refusal.headers)
            return
        yield Stream(200, self._events(request, target))

    def renew(self) -> None:
        self.renewals += 1

    async def close(self) -> None:
        self.closed = True

    def _discovery(self, group: str) -> Response:
        served = [each for each in (RAY_JOBS, RAY_CLUSTERS) if each.group == group and str(each) not in self.absent]
        if not served:
            return Response(404, b"404 page not found\n")
        resources = [{"name": each.plural, "verbs": ["get", "list"] + ["create"] * (str(each) not in self.leaving)} for each in served]
        return Response(200, json.dumps({"kind": "APIResourceList", "resources": resources}).encode())

    def _failure(self, request: Request) -> Response | None:
        """Return what the request gets instead of an answer, or raise it; None if nothing is to go wrong."""
        for failure in self._failures:
            matches, answer, times = failure
            if matches(request):
                failure[2] = times - 1
                if times == 1:
                    self._failures.remove(failure)
                if isinstance(answer, Exception):
                    raise answer
                return cast(Response, answer)
        return None

    def _forbidden(self, request: Request, target: Target) -> Response | None:
        if self.granted is None or asked(request) in self.granted:
            return None
        group, resource, verb = asked(request)
        message = f'the account cannot {verb} resource "{resource}" in API group "{group}": no RIGHTS of a module declare it'
        return status_response(403, "Forbidden", message, target)

    async def _receive(self, request: Request) -> None:
        self.requests.append(request)
        await asyncio.sleep(self.slow_seconds)
        if self.black_hole:
            await asyncio.sleep(request.read_timeout_seconds)
            raise Unreachable(f"{request}: no answer")

    async def _events(self, request: Request, target: Target) -> AsyncIterator[bytes]:
        collection, cuts, deaf = self._collections[target.collection], self._cuts, self._deaf
        position = int(request.query["resourceVersion"])
        if position < collection.oldest:
            yield event_line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"})
            return
        end = asyncio.get_running_loop().time() + float(request.query["timeoutSeconds"])
        while asyncio.get_running_loop().time() < end:
            if self._cuts != cuts:
                raise Unreachable("connection lost")
            if self._deaf != deaf:
                await asyncio.sleep(float("inf"))
            new = [event for event in collection.events if event[0] > position]
            for version, kind, item in new:
                position = version
                if kind == "BOOKMARK" or is_selected(item, request, target):
                    yield event_line(kind, item)
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
            return json_response(200, item) if item else status_response(404, "NotFound", "not found", target)
        token = request.query.get("continue")
        if token is None:
            items = [item for _, item in sorted(collection.objects.items()) if is_selected(item, request, target)]
            version = str(self.version)
        elif token in self._pages:
            items, version = self._pages.pop(token), token.split(":")[0]
        else:
            return status_response(410, "Expired", "the continue token is too old", target)
        limit = int(request.query.get("limit", len(items) or 1))
        metadata = {"resourceVersion": version}
        if items[limit:]:
            metadata["continue"] = f"{version}:{uuid.uuid4().hex}"
            self._pages[metadata["continue"]] = items[limit:]
        return json_response(200, {"metadata": metadata, "items": items[:limit]})

    def _post(self, request: Request, target: Target) -> Response:
        name = request.body["metadata"]["name"]
        if (target.namespace, name) in self._collections[target.collection].objects:
            return status_response(409, "AlreadyExists", f"{name} already exists", target)
        if request.query.get("fieldValidation") == "Strict" and (unknown := self.unknown_fields(request.body)):
            words = ", ".join(f'unknown field "{field}"' for field in unknown)
            return status_response(400, "BadRequest", f"strict decoding error: {words}", target)
        item = copy.deepcopy(request.body)
        self.admission(item)
        if request.query.get("dryRun") == "All":
            return json_response(201, item)
        return json_response(201, self._store(target.collection, item))

    def _put(self, request: Request, target: Target) -> Response:
        old = self._collections[target.collection].objects.get((target.namespace, str(target.name)))
        if old is None:
            return status_response(404, "NotFound", "not found", target)
        if request.body["metadata"].get("resourceVersion") not in (None, old["metadata"]["resourceVersion"]):
            return status_response(409, "Conflict", "the object has been modified", target)
        return json_response(200, self._store(target.collection, copy.deepcopy(request.body)))

    def _patch(self, request: Request, target: Target) -> Response:
        old = self._collections[target.collection].objects.get((target.namespace, str(target.name)))
        if old is None:
            return status_response(404, "NotFound", "not found", target)
        version = (request.body.get("metadata") or {}).get("resourceVersion")
        if version not in (None, old["metadata"]["resourceVersion"]):
            return status_response(409, "Conflict", "the object has been modified", target)
        if (request.body.get("metadata") or {}).get("uid") not in (None, old["metadata"]["uid"]):
            return status_response(422, "Invalid", "metadata.uid: Invalid value: field is immutable", target)
        return json_response(200, self._store(target.collection, merge_patch(old, request.body)))

    def _delete_request(self, request: Request, target: Target) -> Response:
        address = (target.namespace, str(target.name))
        old = self._collections[target.collection].objects.get(address)
        if old is None:
            return status_response(404, "NotFound", "not found", target)
        wanted = (request.body or {}).get("preconditions", {})
        if any(old["metadata"][member] != value for member, value in wanted.items()):
            return status_response(409, "Conflict", "the precondition does not hold", target)
        self._delete(target.collection, address)
        return json_response(200, {"kind": "Status", "status": "Success"})

    def _store(self, path: str, item: KubeObject, *, silent: bool = False) -> KubeObject:
        collection = self._collections[path]
        metadata = item["metadata"]
        address = (metadata.get("namespace"), metadata["name"])
        old = collection.objects.get(address)
        self.version = next(self._versions)
        metadata["uid"] = old["metadata"]["uid"] if old else metadata.get("uid") or str(uuid.uuid4())
        metadata.setdefault("creationTimestamp", old["metadata"]["creationTimestamp"] if old else CREATED)
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
