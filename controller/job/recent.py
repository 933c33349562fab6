"""What was read a moment ago of the objects that many jobs name together: keys of ConfigMaps, access modes of claims, devices of templates.

No cache has them, and jobs that are created together mostly name the same. What is there is remembered for a moment; what is
missing is asked for again by everybody who needs it. Test: tests/controller/job/test_recent.py.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

from controller.job.objects.placement import access_modes
from controller.runtime.errors import NotFound, ResourceAbsent
from controller.runtime.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, RESOURCE_CLAIM_TEMPLATES, KubeObject, Resource

REMEMBERED_SECONDS = 10.0
"""What changes meanwhile is noticed by the kubelet, as what changes right after it was read."""
REMEMBERED_MOST = 1000

Place = tuple[Resource, str, str]


class Reader(Protocol):
    """What is needed of the client."""

    async def get(self, resource: Resource, name: str, namespace: str | None = None, *, metadata_only: bool = False) -> KubeObject:
        """Return an object; raise NotFound."""


class Recent:
    """Lists of words by the object that has them; those that wait for the same object share an answer."""

    def __init__(self, reader: Reader, monotonic: Callable[[], float]) -> None:
        self._reader, self._monotonic = reader, monotonic
        self._known: dict[Place, tuple[float, list[str]]] = {}
        self._reading = WeakValueDictionary[Place, asyncio.Lock]()
        """Each as long as somebody has or awaits it."""

    async def keys(self, namespace: str, name: str, wanted: set[str]) -> list[str] | None:
        """Return the keys of a ConfigMap, None if there is none; it is read again if one of those wanted was not in it."""
        return await self._words((CONFIG_MAPS, namespace, name), _keys, wanted)

    async def modes(self, namespace: str, name: str) -> list[str] | None:
        """Return the access modes of a claim, None if there is none."""
        return await self._words((PERSISTENT_VOLUME_CLAIMS, namespace, name), access_modes, set())

    async def devices(self, namespace: str, name: str, devices_in: Callable[[KubeObject], list[str]]) -> list[str] | None:
        """Return what `devices_in` says of a ResourceClaimTemplate, None if there is none; ResourceAbsent where none are served."""
        return await self._words((RESOURCE_CLAIM_TEMPLATES, namespace, name), devices_in, set())

    async def _words(self, place: Place, words_of: Callable[[KubeObject], list[str]], wanted: set[str]) -> list[str] | None:
        lock = self._reading.setdefault(place, asyncio.Lock())
        async with lock:
            at, words = self._known.get(place, (float("-inf"), []))
            if self._monotonic() - at <= REMEMBERED_SECONDS and wanted <= set(words):
                return words
            self._known.pop(place, None)
            resource, namespace, name = place
            try:
                words = words_of(await self._reader.get(resource, name, namespace))
            except ResourceAbsent:
                raise
            except NotFound:
                return None
            if len(self._known) >= REMEMBERED_MOST:
                self._known.clear()
            self._known[place] = self._monotonic(), words
            return words


def _keys(item: KubeObject) -> list[str]:
    return sorted([*(item.get("data") or {}), *(item.get("binaryData") or {})])
