"""The wire of these tests itself: whatever it lets pass or swallows, a test must not take it for the controller's doing."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.cluster.controlplane import ControlPlane
from tests.integration.wire import Wire

pytestmark = pytest.mark.integration

CONNECTIONS = 20
SOON_SECONDS = 20.0


@pytest.fixture
def wire(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Wire]:
    with Wire(control_plane, control_plane.kubeconfig, tmp_path, "tried") as wire:
        yield wire


async def ask(session: aiohttp.ClientSession, wire: Wire, seconds: float = SOON_SECONDS) -> bool:
    """Whether an answer comes in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), session.get(f"{wire.url}/version") as answer:
            await answer.read()
            return True
    return False


async def test_new_connections_pass_after_a_cut_though_many_others_were_closed_before_it(wire: Wire) -> None:
    for _ in range(CONNECTIONS):
        async with aiohttp.ClientSession() as session:
            assert await ask(session, wire)
    wire.cut()
    wire.reconnect()
    for _ in range(CONNECTIONS):
        async with aiohttp.ClientSession() as session:
            assert await ask(session, wire)


@pytest.mark.parametrize("lose", [Wire.forget, Wire.cut])
async def test_what_was_connected_stays_dead(wire: Wire, lose: object) -> None:
    async with aiohttp.ClientSession() as old, aiohttp.ClientSession() as new:
        assert await ask(old, wire)
        assert callable(lose)
        lose(wire)
        wire.reconnect()
        assert await ask(new, wire)
        assert not await ask(old, wire, seconds=0.5)
        assert await ask(new, wire)
