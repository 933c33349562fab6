"""Replicas that elect a leader over an API server in memory, each with a way to it that can be cut."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from controller.runtime.client import Client
from controller.runtime.elector import Elector, LeaseTimings
from controller.runtime.errors import Unreachable
from controller.runtime.resources import LEASES
from controller.runtime.transport import Request, Response, Stream, Transport
from tests.fakes import FakeApi
from tests.virtual_time import now, run_in_virtual_time

TIMINGS = LeaseTimings(duration=15.0, renew_deadline=10.0, retry=2.0)


def elector(api: Transport, identity: str, clock: Callable[[], float] = now) -> Elector:
    client = Client(api, field_manager="test")
    return Elector(client, namespace="ns", name="lease", identity=identity, timings=TIMINGS, clock=clock, jitter=lambda: 0.5)


def lease(api: FakeApi) -> dict[str, object]:
    return dict(api.objects(LEASES)[0]["spec"])


async def lead_for_ever(candidate: Elector) -> None:
    while True:
        await candidate.acquire()
        await candidate.keep()


def play(act: Callable[[FakeApi, Elector, Elector], Awaitable[None]]) -> None:
    async def main() -> None:
        api = FakeApi()
        await act(api, elector(api, "a"), elector(api, "b"))

    run_in_virtual_time(main())


LEASE = ("ns", "lease")


class Line:
    """The way of one replica to the API server, which can be cut for it alone."""

    def __init__(self, api: FakeApi) -> None:
        self.api, self.cut = api, False

    async def send(self, request: Request) -> Response:
        if self.cut:
            await asyncio.sleep(request.read_timeout_seconds)
            raise Unreachable(f"{request}: no answer")
        return await self.api.send(request)

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        return self.api.stream(request)

    def renew(self) -> None:
        self.api.renew()

    async def close(self) -> None:
        await self.api.close()
