"""Holds the newest known state of one kind of object, found by key and through indexes.

A reflector fills it, reconcilers read it; everything runs on one event loop, so there are no locks. Uses neither
API nor clock. Tests: tests/controller/runtime/test_store.py.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from controller.runtime.resources import KubeObject, object_key

Indexer = Callable[[KubeObject], Iterable[str]]
"""Returns the values under which an object is found in one index."""


class StoreState(StrEnum):
    """How far the contents can be trusted."""

    SYNCING = "syncing"
    """The first list has not arrived yet."""
    SYNCED = "synced"
    ABSENT = "absent"
    """The API server does not serve this resource: its definition is not installed. The store is empty."""


@dataclass(frozen=True)
class Change:
    """One difference to what was known: `old` is None for a new object, `new` for a deleted one."""

    key: str
    old: KubeObject | None
    new: KubeObject | None


class Store:
    """Objects of one kind by key (`namespace/name`) and by the values of named indexes.

    The objects are shared, not copied: readers must not change them.
    """

    def __init__(self, indexers: Mapping[str, Indexer] | None = None) -> None:
        self._indexers = dict(indexers or {})
        self._objects: dict[str, KubeObject] = {}
        self._indexes: dict[str, dict[str, set[str]]] = {name: {} for name in self._indexers}
        self._state = StoreState.SYNCING
        self._known = asyncio.Event()

    @property
    def state(self) -> StoreState:
        """Whether the contents are complete; set by the reflector."""
        return self._state

    @state.setter
    def state(self, state: StoreState) -> None:
        self._state = state
        if state is not StoreState.SYNCING:
            self._known.set()

    async def wait_until_known(self) -> None:
        """Return once the first list has arrived, or the resource is known to be absent."""
        await self._known.wait()

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: str) -> KubeObject | None:
        """Return the object with this key, None if there is none."""
        return self._objects.get(key)

    def keys(self) -> list[str]:
        """Return all keys, sorted."""
        return sorted(self._objects)

    def all(self) -> list[KubeObject]:
        """Return all objects, sorted by key."""
        return [self._objects[key] for key in self.keys()]

    def by_index(self, index: str, value: str) -> list[KubeObject]:
        """Return the objects that the indexer `index` files under `value`, sorted by key."""
        return [self._objects[key] for key in sorted(self._indexes[index].get(value, ()))]

    def put(self, item: KubeObject) -> Change:
        """Add the object, or replace the one with its key."""
        key = object_key(item)
        old = self._objects.get(key)
        if old is not None:
            self._unfile(key, old)
        self._objects[key] = item
        for name, indexer in self._indexers.items():
            for value in indexer(item):
                self._indexes[name].setdefault(value, set()).add(key)
        return Change(key, old, item)

    def remove(self, key: str) -> Change | None:
        """Remove the object with this key; None if there was none."""
        old = self._objects.pop(key, None)
        if old is None:
            return None
        self._unfile(key, old)
        return Change(key, old, None)

    def replace(self, items: Iterable[KubeObject]) -> list[Change]:
        """Make the contents equal to `items` and return the differences, including deletions that no watch reported.

        An object with the same resourceVersion is not a change. One that was deleted and created again under the same name is
        one change, from the old to the new: readers compare UIDs.
        """
        given = {object_key(item): item for item in items}
        changes = [change for key in self.keys() if key not in given and (change := self.remove(key))]
        for key, item in given.items():
            old = self._objects.get(key)
            if old is None or _version(old) != _version(item):
                changes.append(self.put(item))
        return changes

    def _unfile(self, key: str, item: KubeObject) -> None:
        for name, indexer in self._indexers.items():
            for value in indexer(item):
                keys = self._indexes[name].get(value)
                if keys is not None:
                    keys.discard(key)
                    if not keys:
                        del self._indexes[name][value]


def _version(item: KubeObject) -> tuple[str | None, str | None]:
    metadata = item["metadata"]
    return metadata.get("uid"), metadata.get("resourceVersion")
