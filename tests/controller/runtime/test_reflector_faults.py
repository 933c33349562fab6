"""Watches that repeat, reorder, lose and tear changes, drawn at random; and that nothing is kept of changes that are over."""

import asyncio
import gc
import json
import logging
import random
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controller.runtime.client import Client
from controller.runtime.errors import Unreachable
from controller.runtime.metrics import Metrics
from controller.runtime.reflector import Reflector
from controller.runtime.resources import KubeObject
from controller.runtime.store import Change, Store
from controller.runtime.transport import Request, Response, Stream
from controller.runtime.workers import Workers
from controller.runtime.workqueue import WorkQueue
from tests.controller.runtime.builders import WIDGETS, until, widget
from tests.virtual_time import now, run_in_virtual_time

pytestmark = pytest.mark.fault

NAMES = ["a", "b", "c"]
"""So few that changes of one come in a row."""
REPETITIONS = 25
CHANGES = 60
OBJECT_CHANGES = 10_000


class Source:
    """Holds widgets, and sends their changes as lines that a test may damage. It keeps no history: an old watch is Gone."""

    def __init__(self) -> None:
        self.version, self.widgets = 1, dict[str, KubeObject]()
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.lists = self.watches = 0

    def change(self, name: str, draw: random.Random) -> bytes:
        """Create, change or delete a widget, and return the line that says so."""
        self.version += 1
        existing = self.widgets.get(name)
        if existing is not None and draw.random() < 0.3:
            kind, item = "DELETED", self.widgets.pop(name)
        else:
            kind, item = ("ADDED" if existing is None else "MODIFIED"), widget(name, spec={"draw": draw.random()})
            self.widgets[name] = item
        item["metadata"] |= {"resourceVersion": str(self.version), "uid": name}
        return json.dumps({"type": kind, "object": item}).encode()

    async def send(self, request: Request) -> Response:
        self.lists += 1
        while not self.lines.empty():  # what a list shows, no watch from its version sends again
            self.lines.get_nowait()
        body = {"metadata": {"resourceVersion": str(self.version)}, "items": list(self.widgets.values())}
        return Response(200, json.dumps(body).encode())

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Stream]:
        self.watches += 1
        yield Stream(200, self._lines())

    async def _lines(self) -> AsyncIterator[bytes]:
        while True:
            line = await self.lines.get()
            if line == b"cut":
                raise Unreachable("cut")
            yield line

    def renew(self) -> None: ...

    async def close(self) -> None: ...


def contents(items: Any) -> list[tuple[str, str]]:
    return sorted((item["metadata"]["name"], item["metadata"]["resourceVersion"]) for item in items)


@pytest.mark.parametrize("seed", range(REPETITIONS))
def test_changes_that_come_doubled_late_torn_or_after_a_cut_end_in_the_true_state(seed: int) -> None:
    async def main() -> None:
        draw, source, store = random.Random(seed), Source(), Store()
        seen: dict[str, str] = {}

        def note(change: Change) -> None:
            name = change.key.partition("/")[2]
            if change.new is None:
                del seen[name]  # a deletion is told once, of what was told before
            else:
                assert change.old is None or name in seen
                seen[name] = change.new["metadata"]["resourceVersion"]

        reflector = Reflector(Client(source, field_manager="t"), WIDGETS, store, Metrics("test"), on_change=note)
        running = asyncio.create_task(reflector.run())
        await store.wait_until_known()
        # The last one must be noticed by itself: no later list shows what is true.
        for fault in [*draw.choices(["none", "none", "doubled", "late", "torn", "cut"], k=CHANGES), "late"]:
            lines = [source.change(draw.choice(NAMES), draw) for _ in range(draw.randrange(2, 5))]
            if fault == "doubled":
                lines += lines
            elif fault == "late":
                lines.reverse()
            elif fault == "torn":
                lines[0] = lines[0][:20]
                # What was torn away never comes: the server must send its end before anything else.
                lines.append(json.dumps({"type": "ERROR", "object": {"code": 410}}).encode())
            elif fault == "cut":
                lines.append(b"cut")
            for line in lines:
                source.lines.put_nowait(line)
            await asyncio.sleep(draw.choice([0.0, 0.0, 1.0]))
        await until(lambda: contents(store.all()) == contents(source.widgets.values()), seconds=3600)
        assert sorted(seen.items()) == contents(source.widgets.values())
        assert not running.done()
        # No busy loop: each fault costs a list or a watch, and faults in a row ever fewer.
        assert source.lists <= CHANGES / 2 + 10
        assert source.watches <= source.lists + CHANGES / 2
        running.cancel()
        await asyncio.wait([running])

    run_in_virtual_time(main())


def test_nothing_is_kept_of_ten_thousand_changes_that_are_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "controller")  # pytest would keep each record

    async def main() -> tuple[int, int]:
        draw, source, store, queue = random.Random(0), Source(), Store({"n": lambda item: [item["metadata"]["name"]]}), WorkQueue(now)
        handled = 0

        async def reconcile(key: str) -> float | None:
            nonlocal handled
            handled += 1
            if handled % 2 == 0:
                raise Unreachable("now and then")
            return 60.0 if store.get(key) is not None else None

        metrics = Metrics("test")
        reflector = Reflector(Client(source, field_manager="t"), WIDGETS, store, metrics, on_change=lambda change: queue.add(change.key))
        tasks = [asyncio.create_task(reflector.run()), asyncio.create_task(Workers(queue, reconcile, metrics, 4).run())]
        await store.wait_until_known()

        async def change(count: int) -> int:
            for number in range(count):
                # Names that come and go for good, as those of jobs do, beside some that stay.
                name = f"j{source.version}" if number % 2 else draw.choice(NAMES)
                source.lines.put_nowait(source.change(name, draw))
                if len(source.widgets) > 100:
                    oldest = next(iter(source.widgets))
                    gone = source.widgets.pop(oldest)
                    source.version += 1
                    gone["metadata"]["resourceVersion"] = str(source.version)
                    source.lines.put_nowait(json.dumps({"type": "DELETED", "object": gone}).encode())
                if number % 20 == 0:
                    await asyncio.sleep(1)
            await asyncio.sleep(300)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            before = await change(2_000)
            after = await change(OBJECT_CHANGES)
        finally:
            tracemalloc.stop()
        assert contents(store.all()) == contents(source.widgets.values())
        assert handled >= OBJECT_CHANGES / 2
        assert source.lists == 1
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return before, after

    before, after = run_in_virtual_time(main())
    # Ten bytes for each change.
    assert after - before < 10 * OBJECT_CHANGES, (before, after)
