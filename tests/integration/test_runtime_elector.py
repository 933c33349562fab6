"""Leader election on the real API server, with real time and a network that swallows packets."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from controller.runtime.client import Client
from controller.runtime.connection import KubernetesTransport
from controller.runtime.elector import Elector, LeaseTimings
from controller.runtime.resources import LEASES
from tests.cluster.controlplane import ControlPlane
from tests.controller.runtime.builders import until

pytestmark = pytest.mark.integration

TIMINGS = LeaseTimings(duration=4.0, renew_deadline=2.5, retry=0.5)
WAIT_SECONDS = 60.0


class SwallowingProxy:
    """Passes bytes on to the API server until `swallows` is set; connections stay open, as behind a broken firewall."""

    def __init__(self, target: str) -> None:
        self._host, self._port = str(urlsplit(target).hostname), urlsplit(target).port
        self._tasks: set[asyncio.Task[None]] = set()
        self.swallows = False

    async def __aenter__(self) -> "SwallowingProxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                if not self.swallows:
                    sink.write(data)
                    await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()


class Replica:
    """A process that leads when it may; `stop` ends it as kill -9 does, without a release."""

    def __init__(self, transport: KubernetesTransport, name: str, lease: str) -> None:
        self.client = Client(transport, field_manager="test")
        self.elector = Elector(self.client, namespace="default", name=lease, identity=name, timings=TIMINGS)
        self.task = asyncio.create_task(self._lead())

    async def _lead(self) -> None:
        while True:
            await self.elector.acquire()
            await self.elector.keep()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@asynccontextmanager
async def replicas(*kubeconfigs: Path) -> AsyncIterator[tuple[list[Replica], Callable[[], int]]]:
    """Replicas of one lease, and how many of them led at once at the most."""
    lease, most = f"elect-{uuid.uuid4().hex[:8]}", 0
    members = [Replica(await KubernetesTransport.connect(path), f"replica-{n}", lease) for n, path in enumerate(kubeconfigs)]

    async def count() -> None:
        nonlocal most
        while True:
            most = max(most, sum(member.elector.leading() for member in members))
            await asyncio.sleep(0.01)

    counting = asyncio.create_task(count())
    try:
        yield members, lambda: most
    finally:
        counting.cancel()
        for member in members:
            await member.stop()
            await member.client.close()


async def test_a_standby_takes_over_at_once_after_a_release_and_later_after_a_kill(control_plane: ControlPlane) -> None:
    path = control_plane.kubeconfig
    async with replicas(path, path, path) as (members, most):
        clock = asyncio.get_running_loop().time
        await until(lambda: any(member.elector.leading() for member in members), seconds=WAIT_SECONDS)
        first = next(member for member in members if member.elector.leading())
        others = [member for member in members if member is not first]

        await first.stop()
        await first.elector.release()
        released = clock()
        await until(lambda: any(member.elector.leading() for member in others), seconds=WAIT_SECONDS)
        assert clock() - released < TIMINGS.renew_deadline

        second = next(member for member in others if member.elector.leading())
        (third,) = [member for member in others if member is not second]
        await second.stop()
        killed = clock()
        await until(third.elector.leading, seconds=WAIT_SECONDS)
        assert clock() - killed > TIMINGS.duration - TIMINGS.retry * 2
        lease = (await third.client.get(LEASES, third.elector.name, "default"))["spec"]
        assert lease["holderIdentity"] == third.elector.identity
        assert most() == 1


async def test_a_leader_behind_a_black_hole_stops_before_another_starts_and_stands_by_when_it_is_over(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    async with SwallowingProxy(control_plane.url) as proxy:
        behind = tmp_path / "kubeconfig"
        behind.write_text(control_plane.kubeconfig.read_text().replace(control_plane.url, proxy.url))
        async with replicas(behind) as ((cut_off,), _), _joined(cut_off, control_plane.kubeconfig) as standby:
            await until(cut_off.elector.leading, seconds=WAIT_SECONDS)
            await asyncio.sleep(1)
            proxy.swallows = True
            while not standby.elector.leading():
                assert cut_off.elector.leading() + standby.elector.leading() <= 1
                await asyncio.sleep(0.01)
            assert not cut_off.elector.leading()
            proxy.swallows = False
            await asyncio.sleep(2 * TIMINGS.retry)
            assert not cut_off.elector.leading()
            assert not cut_off.task.done()


@asynccontextmanager
async def _joined(other: Replica, kubeconfig: Path) -> AsyncIterator[Replica]:
    await until(other.elector.leading, seconds=WAIT_SECONDS)
    replica = Replica(await KubernetesTransport.connect(kubeconfig), "standby", other.elector.name)
    try:
        yield replica
    finally:
        await replica.stop()
        await replica.client.close()
