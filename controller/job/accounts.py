"""Whether the drivers in a namespace may share an account, and that the account is there.

They may where the API server has the admission policy as it is shipped, which is read before the first attempt and again every
few minutes. Test: tests/controller/job/test_accounts.py.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol
from weakref import WeakValueDictionary

from controller.job.objects.attempt import Object, shared_objects
from controller.job.objects.policy import BINDINGS, POLICIES, in_force
from controller.runtime.errors import Forbidden, NotFound
from controller.runtime.resources import KubeObject, Resource
from controller.runtime.rights import rights
from controller.stores import Stores

WHY = "Read before drivers share an account: the policy limits each of them to its own progress ConfigMap."
RIGHTS = (*rights(POLICIES, "get", why=WHY), *rights(BINDINGS, "get", why=WHY))
KNOWN_SECONDS, UNKNOWN_SECONDS = 300.0, 30.0
"""How long an answer holds that the policy is in force, and one that it is not."""
CREATED_SECONDS = 5.0
"""How long the caches may take to show what was created."""


class Reader(Protocol):
    """What is needed of the client."""

    async def get(self, resource: Resource, name: str, namespace: str | None = None, *, metadata_only: bool = False) -> KubeObject:
        """Return an object; raise NotFound."""


class Accounts:
    """The shared accounts of all namespaces. `policy` is the name of the admission policy, None where there is none."""

    def __init__(self, stores: Stores, reader: Reader, policy: str | None, monotonic: Callable[[], float]) -> None:
        self._stores, self._reader, self._policy, self._monotonic = stores, reader, policy, monotonic
        self._limited, self._until = False, float("-inf")
        self._asking = asyncio.Lock()
        self._created: dict[str, float] = {}
        self._making = WeakValueDictionary[str, asyncio.Lock]()
        """Each as long as somebody has or awaits it."""

    async def shared(self) -> bool:
        """Return whether drivers may share an account; one question at a time goes to the API server."""
        if self._policy is None:
            return False
        async with self._asking:
            if self._monotonic() >= self._until:
                self._limited = await self._in_force(self._policy)
                self._until = self._monotonic() + (KNOWN_SECONDS if self._limited else UNKNOWN_SECONDS)
            return self._limited

    async def complete(self, namespace: str, create: Callable[[Object], Awaitable[None]]) -> None:
        """Create what of the namespace's account is in no cache and was not just created; one job does so for all that wait."""
        async with self._making.setdefault(namespace, asyncio.Lock()):
            if self._monotonic() - self._created.get(namespace, float("-inf")) < CREATED_SECONDS:
                return
            self._created = {each: at for each, at in self._created.items() if self._monotonic() - at < CREATED_SECONDS}
            lacking = [each for each in shared_objects(namespace) if not self._is_cached(each, namespace)]
            for each in lacking:
                await create(each)
            if lacking:
                self._created[namespace] = self._monotonic()

    def _is_cached(self, each: Object, namespace: str) -> bool:
        return self._stores.cache_of(each.resource).get(f"{namespace}/{each.name}") is not None

    async def _in_force(self, name: str) -> bool:
        try:
            return in_force(await self._reader.get(POLICIES, name), await self._reader.get(BINDINGS, name))
        except (NotFound, Forbidden):
            return False
