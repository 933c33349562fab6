"""A reflector on the real API server, over a wire that does something wrong: what it knows afterwards is as if nothing had happened."""

import asyncio
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from controller.runtime.client import Client
from controller.runtime.connection import KubernetesTransport
from controller.runtime.reflector import Selection, Timings, without_managed_fields
from controller.runtime.resources import CONFIG_MAPS
from tests.cluster.controlplane import ControlPlane
from tests.controller.runtime.builders import until
from tests.integration import faultywire as wires
from tests.integration.faultywire import Fault, FaultyWire, instead_of_it, is_list, is_next_page, is_watch, status, text
from tests.integration.test_runtime_reflector import NAMESPACES, Following, config_map

pytestmark = [pytest.mark.integration, pytest.mark.fault]

WAIT_SECONDS = 60.0
QUICK = Timings(backoff_base_seconds=0.1, backoff_maximum_seconds=2.0, inactivity_seconds=3.0)
PAGE = 2
OBJECTS = 5
"""More than two pages."""

EXPIRED: dict[str, object] = {"kind": "Status", "status": "Failure", "reason": "Expired", "message": "injected", "code": 410}


def error(**members: object) -> dict[str, object]:
    return {"type": "ERROR", "object": members}


def on_stream(damage: wires.Damage, times: int = 1) -> list[Fault]:
    return [Fault(is_watch, times, damage=damage)]


def on_opening(answer: Callable[[], Any], times: int = 2) -> list[Fault]:
    """The watch is cut, and cannot be opened again at once."""
    return [Fault(is_watch, damage=wires.cut_before), Fault(is_watch, times, answer=answer)]


def on_list(answer: Callable[[], Any], times: int = 2) -> list[Fault]:
    """The watch is too old, and the list that is necessary fails."""
    return [Fault(is_watch, damage=instead_of_it({"type": "ERROR", "object": EXPIRED})), Fault(is_list, times, answer=answer)]


def on_list_body(damage: wires.Damage) -> list[Fault]:
    return [Fault(is_watch, damage=instead_of_it({"type": "ERROR", "object": EXPIRED})), Fault(is_list, damage=damage)]


HTML = "<html>We are down for maintenance</html>"

FAULTS: dict[str, list[Fault]] = {
    "cut between events": on_stream(wires.cut),
    "cut before an event": on_stream(wires.cut_before),
    "cut in mid-event": on_stream(wires.cut_half_way),
    "cut again and again": on_stream(wires.cut_half_way, times=4),
    "silent": on_stream(wires.swallow),
    "slow bytes": on_stream(wires.slowly, times=10),
    "every event twice": on_stream(wires.twice, times=10),
    "garbage": on_stream(instead_of_it("\x00not JSON")),
    "JSON that is no event": on_stream(instead_of_it("[1]")),
    "an event without a type": on_stream(instead_of_it({"object": {"metadata": {}}})),
    "an event without metadata": on_stream(instead_of_it({"type": "MODIFIED", "object": {}})),
    "an event without a name": on_stream(instead_of_it({"type": "DELETED", "object": {"metadata": {"resourceVersion": "1"}}})),
    "an event of null": on_stream(instead_of_it({"type": "DELETED", "object": None})),
    "an ERROR of 410": on_stream(instead_of_it({"type": "ERROR", "object": EXPIRED})),
    "an ERROR of 500": on_stream(instead_of_it(error(code=500, message="injected"))),
    "an ERROR that says nothing": on_stream(instead_of_it(error())),
    "an ERROR of nonsense": on_stream(instead_of_it(error(code="x", details=[1]))),
    "watch: 410": on_opening(status(410, "Expired"), times=1),
    "watch: 429": on_opening(status(429)),
    "watch: 429, after a second": on_opening(status(429, retry_after=1), times=1),
    "watch: 500": on_opening(status(500)),
    "watch: 503": on_opening(text(HTML, 503)),
    "watch: 401": on_opening(status(401)),
    "watch: a page of HTML": on_opening(text(HTML)),
    "watch: no answer": [Fault(is_watch, damage=wires.cut_before), Fault(is_watch, 2, loses_answer=True)],
    "list: 429": on_list(status(429)),
    "list: 429, after a second": on_list(status(429, retry_after=1), times=1),
    "list: 500": on_list(status(500)),
    "list: 503": on_list(text(HTML, 503)),
    "list: a page of HTML": on_list(text(HTML)),
    "list: an empty object": on_list(text("{}")),
    "list: something in place of objects": on_list(text('{"metadata": {"resourceVersion": "9"}, "items": [null, 1]}')),
    "list: cut half way": on_list_body(wires.cut_half_way),
    "list: slow bytes": on_list_body(wires.slowly),
    "second page: 410": [
        Fault(is_watch, damage=instead_of_it({"type": "ERROR", "object": EXPIRED})),
        Fault(is_next_page, answer=status(410, "Expired")),
    ],
    "second page: 500": [
        Fault(is_watch, damage=instead_of_it({"type": "ERROR", "object": EXPIRED})),
        Fault(is_next_page, 2, answer=status(500)),
    ],
}
KILLED_SECONDS = 10.0
"""How long a killed server stays away at least."""
LISTED = 5
"""A list of three pages, the watch after it, and one more attempt."""
MOST_REQUESTS = 16
"""Two lists of three pages, two of each fault with what comes before it, and a few watches."""


@dataclass
class Place:
    """A namespace with objects, which a reflector follows over a wire while an administrator changes them without it."""

    admin: Client
    wire: FaultyWire
    namespace: str
    following: Following

    async def truth(self) -> list[dict[str, Any]]:
        page = await self.admin.list_all(CONFIG_MAPS, self.namespace, label_selector="here")
        return sorted((without_managed_fields(item) for item in page.items), key=lambda item: str(item["metadata"]["name"]))

    async def create(self, name: str) -> None:
        await self.admin.create(CONFIG_MAPS, config_map(name, self.namespace, labels={"here": "yes"}, big="x" * 2000))

    async def change(self, name: str, color: str) -> None:
        await self.admin.patch(CONFIG_MAPS, name, self.namespace, {"data": {"color": color}})

    async def delete(self, name: str) -> None:
        await self.admin.delete(CONFIG_MAPS, name, self.namespace)

    async def settle(self) -> None:
        """Wait until the reflector knows what is true."""
        truth = await self.truth()
        await until(lambda: self.following.store.all() == truth, seconds=WAIT_SECONDS)

    def reported(self, name: str) -> list[str]:
        changes = [each for each in self.following.changes if each.key.endswith(f"/{name}")]
        return ["deleted" if each.new is None else "added" if each.old is None else "changed" for each in changes]


@asynccontextmanager
async def place(plane: ControlPlane, directory: Path, name: str, timings: Timings = QUICK) -> AsyncIterator[Place]:
    admin = Client(await KubernetesTransport.connect(plane.kubeconfig), field_manager="admin")
    with FaultyWire(plane, plane.kubeconfig, directory, "faulty") as wire:
        client = Client(await KubernetesTransport.connect(wire.kubeconfig), field_manager="test")
        try:
            await admin.create(NAMESPACES, {"metadata": {"name": name}})
            for number in range(OBJECTS):
                await admin.create(CONFIG_MAPS, config_map(f"old-{number}", name, labels={"here": "yes"}, big="x" * 2000))
            selection = Selection(name, label_selector="here")
            async with Following(client, CONFIG_MAPS, selection, timings=timings, page_limit=PAGE) as following:
                await until(lambda: any("watch=true" in each.query and each.status == 200 for each in wire.sent), seconds=WAIT_SECONDS)
                yield Place(admin, wire, name, following)
        finally:
            await client.close()
            await admin.close()


@pytest.mark.parametrize("number", [pytest.param(number, id=name) for number, name in enumerate(FAULTS)])
async def test_after_a_fault_everything_is_known_as_if_nothing_had_happened(
    control_plane: ControlPlane, tmp_path: Path, number: int
) -> None:
    faults = list(FAULTS.values())[number]
    async with place(control_plane, tmp_path, f"fault-{number}") as here:
        before = len(here.wire.sent)
        here.wire.faults = faults
        # The deletion comes first: whatever strikes the first event strikes this one.
        await here.delete("old-0")
        await here.change("old-1", "red")
        await here.create("new")
        await here.change("old-1", "blue")
        await here.settle()
        await here.delete("new")
        await here.settle()

        assert all(fault.injected for fault in faults), "the fault never happened"
        assert here.reported("old-0") == ["added", "deleted"]
        assert here.reported("new")[-1] == "deleted"
        assert here.reported("new").count("deleted") == 1
        assert {*here.reported("old-1")} == {"added", "changed"}
        assert [here.reported(f"old-{still}") for still in range(2, OBJECTS)] == [["added"]] * (OBJECTS - 2)
        asked = here.wire.sent[before:]
        assert len(asked) <= MOST_REQUESTS, [f"{each.method} {each.query} {each.status}" for each in asked]


async def test_a_server_that_is_killed_and_started_again_has_told_everything_in_the_end(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    async with place(control_plane, tmp_path, "fault-killed", Timings(backoff_base_seconds=0.1)) as here:
        before = len(here.wire.sent)
        server = control_plane.processes.identity("kube-apiserver").pid
        began = time.monotonic()
        os.kill(server, signal.SIGKILL)
        await until(lambda: len(here.wire.sent) > before, seconds=WAIT_SECONDS)
        await asyncio.sleep(KILLED_SECONDS)
        await asyncio.to_thread(control_plane.restart_apiserver)
        away = time.monotonic() - began
        await here.delete("old-0")
        await here.create("new")
        await here.settle()
        asked = here.wire.sent[before:]
        # The pauses double from 0.1 s, a quarter of which may be missing, until they are at their longest; aiohttp sends a GET again
        # whose connection was cut.
        tries = math.log2(away / (0.75 * 0.1) + 1) + away / (0.75 * Timings().backoff_maximum_seconds)
        most = 2 * tries + LISTED
        assert len(asked) <= most, f"{away:.0f} s: {[f'{each.method} {each.query} {each.status}' for each in asked]}"
        assert here.reported("old-0") == ["added", "deleted"]
        assert here.reported("new") == ["added"]
        assert [here.reported(f"old-{still}") for still in range(1, OBJECTS)] == [["added"]] * (OBJECTS - 1)


@pytest.mark.slow
async def test_a_watch_that_is_half_open_for_two_minutes_misses_no_deletion(control_plane: ControlPlane, tmp_path: Path) -> None:
    async with place(control_plane, tmp_path, "fault-half-open", Timings()) as here:
        here.wire.faults = [Fault(is_watch, times=10**6, damage=wires.swallow)]
        before = len(here.wire.sent)
        await here.delete("old-0")
        await here.create("new")
        await asyncio.sleep(118)
        assert "fault-half-open/old-0" in here.following.store.keys()  # noqa: SIM118 - no mapping
        here.wire.faults = []
        await here.settle()
        assert here.reported("old-0") == ["added", "deleted"]
        assert len(here.wire.sent) - before <= 3
