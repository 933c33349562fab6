"""Holds the newest known state of one kind of object, found by key and through indexes.

Objects are kept as JSON: decoded, one takes six times the memory, and of thousands hardly one is looked at in a second.
A reflector fills it, reconcilers read it; everything runs on one event loop, so there are no locks. Uses neither
API nor clock. Tests: tests/controller/runtime/test_store.py.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, overload

from pydantic_core import from_json  # twice as fast as json's

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


@dataclass(frozen=True, slots=True)
class Packed:
    """An object as a store keeps it."""

    key: str
    version: tuple[str | None, str | None]
    """UID and resourceVersion."""
    text: bytes

    def unpacked(self) -> KubeObject:
        """Return the object, a new one each time."""
        item: KubeObject = from_json(self.text, cache_strings="keys")
        return item


def packed(item: KubeObject) -> Packed:
    """Return an object as a store keeps it."""
    metadata = item["metadata"]
    version = metadata.get("uid"), metadata.get("resourceVersion")
    return Packed(object_key(item), version, json.dumps(item, separators=(",", ":")).encode())


class Changes(Sequence[Change]):
    """Many changes, whose objects are unpacked one by one: after a first list they are all that there is."""

    def __init__(self, parts: list[tuple[str, Packed | None, Packed | None]]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, index: int) -> Change: ...

    @overload
    def __getitem__(self, index: slice) -> list[Change]: ...

    def __getitem__(self, index: int | slice) -> Change | list[Change]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        key, old, new = self._parts[index]
        return Change(key, None if old is None else old.unpacked(), None if new is None else new.unpacked())


class Filled(Protocol):
    """What a reflector fills: a whole store, or the part of it for one namespace."""

    state: StoreState

    def count(self) -> int:
        """Return how many objects the whole store has."""

    def put(self, item: KubeObject) -> Change:
        """Add an object, or replace the one with its key."""

    def remove(self, key: str) -> Change | None:
        """Remove the object with this key."""

    def replace(self, items: Iterable["KubeObject | Packed"]) -> Changes:
        """Make the contents equal to `items`."""

    def refuse(self) -> None:
        """Note that the objects may not be listed."""


class Store:
    """Objects of one kind by key (`namespace/name`) and by the values of named indexes. Each reader gets its own copy.

    A store is filled as a whole, or by parts for the namespaces that are watched.
    """

    def __init__(self, indexers: Mapping[str, Indexer] | None = None) -> None:
        self._indexers = dict(indexers or {})
        self._objects: dict[str, Packed] = {}
        self._indexes: dict[str, dict[str, set[str]]] = {name: {} for name in self._indexers}
        self._state = StoreState.SYNCING
        self._refused = False
        self._known = asyncio.Event()
        self._parts: dict[str, Part] = {}

    def part(self, namespace: str) -> "Part":
        """Return the part for one namespace, which a reflector of its own fills."""
        return self._parts.setdefault(namespace, Part(self, namespace))

    @property
    def state(self) -> StoreState:
        """Whether the contents are complete; set by the reflector, or of those parts that may be listed."""
        return self._state

    @state.setter
    def state(self, state: StoreState) -> None:
        self._state, self._refused = state, False
        if state is not StoreState.SYNCING:
            self._known.set()

    def state_in(self, namespace: str) -> StoreState:
        """Return whether what a namespace has is complete."""
        part = self._parts.get(namespace)
        return self._state if part is None else part.state

    def refused_in(self, namespace: str) -> bool:
        """Return whether what a namespace has may not be listed, and never could be."""
        part = self._parts.get(namespace)
        return self._refused if part is None else part.refused

    def refuse(self) -> None:
        """Note that the objects may not be listed, and go on waiting: without that right there is nothing to work on."""
        self._refused = self._state is StoreState.SYNCING

    def follow_parts(self) -> None:
        """Take the state of the parts. One that may not be listed holds up no other, unless there is no other."""
        states = {each.state for each in self._parts.values() if not each.refused}
        order = (StoreState.SYNCING, StoreState.ABSENT, StoreState.SYNCED)
        self.state = next((state for state in order if state in states), StoreState.SYNCING)

    async def wait_until_known(self) -> None:
        """Return once the first list has arrived, or the resource is known to be absent."""
        await self._known.wait()

    def __len__(self) -> int:
        return len(self._objects)

    def count(self) -> int:
        """Return how many objects there are."""
        return len(self)

    def get(self, key: str) -> KubeObject | None:
        """Return the object with this key, None if there is none."""
        found = self._objects.get(key)
        return None if found is None else found.unpacked()

    def keys(self) -> list[str]:
        """Return all keys, sorted."""
        return sorted(self._objects)

    def all(self) -> list[KubeObject]:
        """Return all objects, sorted by key."""
        return [self._objects[key].unpacked() for key in self.keys()]

    def by_index(self, index: str, value: str) -> list[KubeObject]:
        """Return the objects that the indexer `index` files under `value`, sorted by key."""
        return [self._objects[key].unpacked() for key in sorted(self._indexes[index].get(value, ()))]

    def put(self, item: KubeObject) -> Change:
        """Add the object, or replace the one with its key."""
        return self._put(packed(item), item)

    def _put(self, new: Packed, item: KubeObject) -> Change:
        key = new.key
        old = self.get(key)
        if old is not None:
            self._unfile(key, old)
        self._objects[key] = new
        for name, indexer in self._indexers.items():
            for value in indexer(item):
                self._indexes[name].setdefault(value, set()).add(key)
        return Change(key, old, item)

    def remove(self, key: str) -> Change | None:
        """Remove the object with this key; None if there was none."""
        found = self._objects.pop(key, None)
        if found is None:
            return None
        old = found.unpacked()
        self._unfile(key, old)
        return Change(key, old, None)

    def replace(self, items: Iterable[KubeObject | Packed], prefix: str = "") -> Changes:
        """Make the contents equal to `items` and return the differences, including deletions that no watch reported.

        With a `prefix`, only those whose keys begin with it; `items` are then all of these.

        An object with the same resourceVersion is not a change. One that was deleted and created again under the same name is
        one change, from the old to the new: readers compare UIDs.
        """
        given = {each.key: each for each in (item if isinstance(item, Packed) else packed(item) for item in items)}
        gone = [(key, self._objects[key], None) for key in self.keys() if key.startswith(prefix) and key not in given]
        for key, _, _ in gone:
            self.remove(key)
        before = [(key, self._objects.get(key), new) for key, new in given.items()]
        differences = [(key, old, new) for key, old, new in before if old is None or old.version != new.version]
        for _, _, new in differences:
            self._put(new, new.unpacked())
        return Changes([*gone, *differences])

    def _unfile(self, key: str, item: KubeObject) -> None:
        for name, indexer in self._indexers.items():
            for value in indexer(item):
                keys = self._indexes[name].get(value)
                if keys is not None:
                    keys.discard(key)
                    if not keys:
                        del self._indexes[name][value]


class Part:
    """The objects of one namespace in a store, as a reflector of that namespace fills them."""

    def __init__(self, whole: Store, namespace: str) -> None:
        self._whole, self._prefix = whole, f"{namespace}/"
        self._state = StoreState.SYNCING
        self.refused = False
        """Whether these objects may not be listed, and never could be: the namespace or the Role in it is missing."""

    @property
    def state(self) -> StoreState:
        """Whether the part is complete; set by the reflector."""
        return self._state

    @state.setter
    def state(self, state: StoreState) -> None:
        self._state, self.refused = state, False
        self._whole.follow_parts()

    def refuse(self) -> None:
        """Note that the objects may not be listed; what was listed before stays as it was."""
        if self._state is StoreState.SYNCING:
            self.refused = True
            self._whole.follow_parts()

    def count(self) -> int:
        """Return how many objects the whole store has."""
        return len(self._whole)

    def put(self, item: KubeObject) -> Change:
        """Add an object of the namespace, or replace the one with its key."""
        return self._whole.put(item)

    def remove(self, key: str) -> Change | None:
        """Remove the object with this key; None if there was none."""
        return self._whole.remove(key)

    def replace(self, items: Iterable[KubeObject | Packed]) -> Changes:
        """Make what the store has of the namespace equal to `items`, and return the differences."""
        return self._whole.replace(items, self._prefix)
