"""Waiting for what the bench needs to have happened. Test: tests/bench/controller/test_whole.py."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from bench.controller import load
from bench.controller.cluster import Cluster, TooSlowError

SETTLED_SECONDS = 3.0
POLL_SECONDS = 0.25
METRICS_POLL_SECONDS = 1.0
"""To be asked for its metrics costs the controller milliseconds."""


async def there(api: load.Api, path: str, count: int) -> bool:
    """Return whether a collection has so many objects."""
    return await api.count(path) >= count


async def has_phase(api: load.Api, path: str, phase: str) -> bool:
    """Return whether a job is in a phase."""
    return ((await api.send("GET", path)).get("status") or {}).get("phase") == phase


async def until(done: Callable[[], Awaitable[bool]], what: str, seconds: float) -> None:
    """Return once `done` says so; TooSlowError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await done():
        if time.monotonic() > deadline:
            raise TooSlowError(f"after {seconds:.0f} s still not: {what}")
        await asyncio.sleep(POLL_SECONDS)


async def settled(cluster: Cluster, seconds: float) -> None:
    """Return once no key has been worked on for a while."""
    deadline, seen, since = time.monotonic() + seconds, -1.0, time.monotonic()
    while time.monotonic() - since < SETTLED_SECONDS:
        done = await asyncio.to_thread(cluster.metric, "reconcile_seconds_count")
        depth = await asyncio.to_thread(cluster.metric, "queue_depth")
        if (done, depth) != (seen, 0.0):
            seen, since = done if depth == 0 else -1.0, time.monotonic()
        if time.monotonic() > deadline:
            raise TooSlowError(f"our controller still works after {seconds:.0f} s")
        await asyncio.sleep(METRICS_POLL_SECONDS)
