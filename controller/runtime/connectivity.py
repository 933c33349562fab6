"""Knows from the answers to all requests whether the API server can be reached, and calls listeners when it can be again.

An outage is not the fault of any one key or watch. What was put off during it is due when it is over, and a watch that was
open before may be dead without a sign, for a firewall that has forgotten its connection sends nothing. Tests:
tests/controller/runtime/test_connectivity.py.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from controller.runtime.elector import clock_with_suspend
from controller.runtime.errors import Unreachable
from controller.runtime.transport import Request, Response, Stream, Transport

log = logging.getLogger(__name__)

OUTAGE_SECONDS = 5.0
"""A single lost answer is not an outage: it takes two this far apart, and no answer to any request between them."""
STANDSTILL_SECONDS = 10.0
PULSE_SECONDS = 1.0


class Connectivity:
    """Records how every request ended; calls its listeners when an outage or a standstill is over."""

    def __init__(self, clock: Callable[[], float] = clock_with_suspend) -> None:
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self._first_failure: float | None = None
        self.down = False

    def on_recovery(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever requests may succeed again, and connections from before may be dead."""
        self._listeners.append(listener)

    def answered(self) -> None:
        """Record that the server answered, whatever the answer was."""
        self._first_failure = None
        if self.down:
            self.down = False
            log.info("the API server answers again")
            self._tell()

    def failed(self) -> None:
        """Record that a request got no answer."""
        now = self._clock()
        if self._first_failure is None:
            self._first_failure = now
        elif not self.down and now - self._first_failure >= OUTAGE_SECONDS:
            self.down = True
            log.warning("the API server does not answer")

    async def watch_for_standstills(self) -> None:
        """Treat a time when this process was stopped, or the machine asleep, as an outage that is over; runs until cancelled."""
        while True:
            before = self._clock()
            await asyncio.sleep(PULSE_SECONDS)
            stood_still = self._clock() - before - PULSE_SECONDS
            if stood_still > STANDSTILL_SECONDS:
                log.warning("this process stood still", extra={"seconds": f"{stood_still:.0f}"})
                self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


class ObservedTransport:
    """Sends through another transport, and records in a Connectivity how it went."""

    def __init__(self, transport: Transport, connectivity: Connectivity) -> None:
        self._transport, self._connectivity = transport, connectivity

    async def send(self, request: Request) -> Response:
        """Send and read the whole answer."""
        try:
            response = await self._transport.send(request)
        except (Unreachable, asyncio.CancelledError):
            # A request that was given up had no answer; if all is well, another request gets one.
            self._connectivity.failed()
            raise
        self._connectivity.answered()
        return response

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        """Send and read line by line; an open stream counts as an answer."""
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: Request) -> AsyncIterator[Stream]:
        async with self._transport.stream(request) as stream:
            self._connectivity.answered()
            yield stream

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()
