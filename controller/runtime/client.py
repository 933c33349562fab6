"""One client for every kind of object: paths, parameters and errors of the Kubernetes API, nothing more.

Reads and writes plain JSON through a Transport. It has no cache and retries nothing: that is the queue's job.
Tests: tests/controller/runtime/test_client.py, tests/integration/test_runtime_client.py.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from controller.runtime.errors import Forbidden, NotFound, ServerError, error_from_status
from controller.runtime.resources import KubeObject, Resource
from controller.runtime.transport import Request, Response, Transport

log = logging.getLogger(__name__)

PAGE_LIMIT = 500
"""As in client-go: a page of jobs stays far below the size at which the API server compresses or times out."""

METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_ONLY_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

Project = Callable[[KubeObject], KubeObject]
"""Returns what to keep of an object; may modify the one it is given."""


@dataclass(frozen=True)
class ListPage:
    """The objects of one answer. `continue_token` is None on the last page."""

    items: list[KubeObject]
    resource_version: str
    continue_token: str | None = None


@dataclass(frozen=True)
class WatchEvent:
    """ADDED, MODIFIED, DELETED, or BOOKMARK, whose object has nothing but a resourceVersion."""

    type: str
    object: KubeObject


class Client:
    """Reads and writes objects of any kind. Every error is a KubeError."""

    def __init__(self, transport: Transport, *, field_manager: str) -> None:
        self._transport = transport
        self._field_manager = field_manager

    async def get(self, resource: Resource, name: str, namespace: str | None = None, *, metadata_only: bool = False) -> KubeObject:
        """Return the object; NotFound if there is none. With `metadata_only` the API server sends no more than its metadata."""
        accept = METADATA_ONLY if metadata_only else "application/json"
        return await self._object(Request("GET", resource.path(namespace, name), accept=accept))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        limit: int = PAGE_LIMIT,
        continue_token: str | None = None,
        metadata_only: bool = False,
    ) -> ListPage:
        """Return one page of the objects, of all namespaces without `namespace`; Gone if `continue_token` is too old."""
        query = _given({"labelSelector": label_selector, "limit": str(limit), "continue": continue_token})
        accept = METADATA_ONLY_LIST if metadata_only else "application/json"
        request = Request("GET", resource.path(namespace), query, accept=accept)
        answer = await self._send(request)
        given = answer.get("items") or []
        # Taken for an empty list, something else would delete everything.
        if not (_has_version(answer) and isinstance(given, list) and all(_is_named(item) for item in given)):
            raise ServerError(f"{request}: the answer is not a list of objects: {str(answer)[:100]}")
        # In lists of built-in kinds the items lack apiVersion and kind.
        items = [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in given]
        return ListPage(items, answer["metadata"]["resourceVersion"], answer["metadata"].get("continue") or None)

    async def list_all(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        limit: int = PAGE_LIMIT,
        metadata_only: bool = False,
        project: Project = lambda item: item,
    ) -> ListPage:
        """Return all objects as of one resourceVersion, read page by page and reduced by `project`."""
        items: list[KubeObject] = []
        pages = self.pages(resource, namespace, label_selector=label_selector, limit=limit, metadata_only=metadata_only)
        async for page in pages:
            items += map(project, page.items)
            version = page.resource_version
        return ListPage(items, version)

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        limit: int = PAGE_LIMIT,
        metadata_only: bool = False,
    ) -> AsyncGenerator[ListPage, None]:
        """Yield all objects as of one resourceVersion, page by page."""
        token: str | None = None
        while True:
            page = await self.list(
                resource, namespace, label_selector=label_selector, limit=limit, continue_token=token, metadata_only=metadata_only
            )
            yield page
            token = page.continue_token
            if token is None:
                return

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        timeout_seconds: int,
        inactivity_seconds: float,
        label_selector: str | None = None,
        metadata_only: bool = False,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Yield the changes after `resource_version` until the server ends the watch after `timeout_seconds`.

        Raises Gone if `resource_version` is too old, and Unreachable when the watch is cut or nothing came for
        `inactivity_seconds` (bookmarks come about once a minute, so silence is a dead connection).
        """
        query = _given(
            {
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": resource_version,
                "timeoutSeconds": str(timeout_seconds),
                "labelSelector": label_selector,
            }
        )
        accept = METADATA_ONLY if metadata_only else "application/json"
        request = Request("GET", resource.path(namespace), query, accept=accept, read_timeout_seconds=inactivity_seconds)
        what = f"watch {resource}"
        async with self._transport.stream(request) as stream:
            if stream.status != 200:
                body = b"\n".join([line async for line in stream.lines])
                raise error_from_status(stream.status, _json_object(body), what, stream.headers.get("Retry-After"))
            async for line in stream.lines:
                event = _json_object(line) or {}
                kind, item = event.get("type"), event.get("object")
                if kind == "ERROR" and isinstance(item, dict):
                    code = item.get("code")
                    raise error_from_status(code if isinstance(code, int) else 500, item, what)
                if not (isinstance(kind, str) and (_has_version(item) if kind == "BOOKMARK" else _is_named(item) and _has_version(item))):
                    raise ServerError(f"{what}: not a watch event: {line[:100]!r}")
                yield WatchEvent(kind, event["object"])

    async def takes_new(self, resource: Resource) -> bool:
        """Return whether the API server takes new objects of this kind: not if it is not served, nor while its definition is being deleted.

        It says so to every account, unless somebody has taken that from all of them; then it is believed to.
        """
        try:
            answer = await self._send(Request("GET", f"/apis/{resource.api_version}"))
        except NotFound:
            return False
        except Forbidden:
            return True
        listed = answer.get("resources")
        if not isinstance(listed, list):
            raise ServerError(f"discovery of {resource.api_version}: the answer is not a list of resources: {str(answer)[:100]}")
        named = [each for each in listed if isinstance(each, dict) and each.get("name") == resource.plural]
        return any("create" in (each.get("verbs") or []) for each in named)

    async def create(self, resource: Resource, item: KubeObject, *, dry_run: bool = False, strict: bool = False) -> KubeObject:
        """Create the object and return it as stored; AlreadyExists if its name is taken.

        `dry_run`: only check whether it could be created. `strict`: Invalid if the server would drop an unknown field.
        """
        options = {"dryRun": "All" if dry_run else None, "fieldValidation": "Strict" if strict else None}
        query = _given({"fieldManager": self._field_manager, **options})
        return await self._object(Request("POST", resource.path(item["metadata"].get("namespace")), query, item))

    async def replace(self, resource: Resource, item: KubeObject) -> KubeObject:
        """Write the whole object; Conflict if it is no longer at the resourceVersion of `item`."""
        return await self._object(Request("PUT", _path_of(resource, item), {"fieldManager": self._field_manager}, item))

    async def patch(
        self, resource: Resource, name: str, namespace: str | None, patch: Mapping[str, Any], *, subresource: str | None = None
    ) -> KubeObject:
        """Merge `patch` into the object; None deletes a member, lists are replaced whole."""
        query = {"fieldManager": self._field_manager}
        path = resource.path(namespace, name, subresource)
        return await self._object(Request("PATCH", path, query, dict(patch), content_type="application/merge-patch+json"))

    async def patch_status(
        self, resource: Resource, name: str, namespace: str | None, status: Mapping[str, Any], *, resource_version: str | None = None
    ) -> KubeObject:
        """Merge `status` into `.status`; with `resource_version`, Conflict if the object has changed since."""
        patch: dict[str, Any] = {"status": dict(status)}
        if resource_version is not None:
            patch["metadata"] = {"resourceVersion": resource_version}
        return await self.patch(resource, name, namespace, patch, subresource="status")

    async def delete(self, resource: Resource, name: str, namespace: str | None = None, *, uid: str | None = None) -> None:
        """Delete the object, and in the background what it owns; NotFound if there is none, Conflict if its UID is not `uid`."""
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        await self._send(Request("DELETE", resource.path(namespace, name), body=options))

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def _object(self, request: Request) -> KubeObject:
        answer = await self._send(request)
        # Something between us and the server may answer in its place, and who reads an object relies on its metadata.
        if not _is_named(answer):
            raise ServerError(f"{request}: the answer is not an object: {str(answer)[:100]}")
        return answer

    async def _send(self, request: Request) -> KubeObject:
        response = await self._transport.send(request)
        answer = _json_object(response.body)
        _log_warning(request, response)
        if not 200 <= response.status < 300:
            raise error_from_status(response.status, answer, str(request), response.headers.get("Retry-After"))
        if answer is None:
            raise ServerError(f"{request}: the answer is not a JSON object: {response.body[:100]!r}", status=response.status)
        return answer


def _given(members: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in members.items() if value is not None}


def _path_of(resource: Resource, item: KubeObject) -> str:
    metadata = item["metadata"]
    return resource.path(metadata.get("namespace"), metadata["name"])


def _json_object(body: bytes) -> KubeObject | None:
    try:
        value = from_json(body, cache_strings="keys")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _has_version(item: Any) -> bool:
    metadata = item.get("metadata") if isinstance(item, dict) else None
    return isinstance(metadata, dict) and isinstance(metadata.get("resourceVersion"), str) and metadata["resourceVersion"] != ""


def _is_named(item: Any) -> bool:
    metadata = item.get("metadata") if isinstance(item, dict) else None
    return isinstance(metadata, dict) and isinstance(metadata.get("name"), str)


def _log_warning(request: Request, response: Response) -> None:
    # The API server says here which fields it dropped and which APIs will be removed; nothing else reports that.
    warning = response.headers.get("Warning")
    if warning:
        log.warning("the API server warns", extra={"request": str(request), "warning": warning})
