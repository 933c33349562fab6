"""Knows from the answers to all requests whether the API server can be reached, and calls listeners when it can be again.

An outage is not the fault of any one key or watch. What was put off during it is due when it is over, and connections that
were open before, of watches and idle ones, may be dead without a sign: a firewall that has forgotten them sends nothing. Tests:
tests/controller/runtime/test_connectivity.py, tests/integration/test_outages.py.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from controller.runtime.elector import clock_with_suspend
from controller.runtime.errors import Unreachable
from controller.runtime.transport import Request, Response, Stream, Transport

log = logging.getLogger(__name__)

OUTAGE_SECONDS = 4.0
"""A lost answer is an outage once no request has had an answer for this long. The elector and the writer of events wait for 5 s."""
DOUBT_PAUSE_SECONDS, LONGEST_DOUBT_PAUSE_SECONDS = 30.0, 600.0
"""A slow server, or a slow webhook, loses answers too, and gets slower if all watches are opened again with each of them: the pause doubles
with each doubt in a row."""
STANDSTILL_SECONDS = 10.0
PULSE_SECONDS = 1.0


class Connectivity:
    """Records how every request ended; calls its listeners when an outage begins, and when one or a standstill is over.

    A firewall or a load balancer may also lose some connections and not others. Then requests on new ones are answered, and the
    watches on old ones are silent: so an answer that is lost while others come makes all connections suspect, and nothing else.
    """

    def __init__(self, clock: Callable[[], float] = clock_with_suspend, outage_seconds: float = OUTAGE_SECONDS) -> None:
        self._clock = clock
        self._outage_seconds = outage_seconds
        self._on_loss: list[Callable[[], None]] = []
        self._on_recovery: list[Callable[[], None]] = []
        self._answered_at = clock()
        self._on_doubt: list[Callable[[], None]] = []
        self._connected_at = self._doubted_at = float("-inf")
        self._doubt_pause_seconds = 0.0
        self.down = False

    def on_loss(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the connections that are open may be dead."""
        self._on_loss.append(listener)

    def on_recovery(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever requests may succeed again, and what was open before may be dead."""
        self._on_recovery.append(listener)

    def on_doubt(self, listener: Callable[[], None]) -> None:
        """Call `listener` when what is open may be dead although requests succeed."""
        self._on_doubt.append(listener)

    def answered(self) -> None:
        """Record that the server answered, whatever the answer was."""
        self._answered_at = self._clock()
        if self.down:
            self.down = False
            log.info("the API server answers again")
            self._recover()

    def failed(self, sent_at: float) -> None:
        """Record that a request got no answer, and when it was sent, by our clock."""
        now = self._clock()
        silent_seconds = now - self._answered_at
        if self.down:
            return
        if silent_seconds >= self._outage_seconds:
            self.down = True
            log.warning("the API server does not answer", extra={"silent_seconds": f"{silent_seconds:.1f}"})
            # Or else each request of the next minutes might be lost on one of them, beside a way that is open again.
            _tell(self._on_loss)
        # One that was sent before the last outage was over tells nothing about the connections since.
        elif sent_at > self._connected_at and now - sent_at >= self._outage_seconds:
            self._doubt(now, now - sent_at)

    def _doubt(self, now: float, waited_seconds: float) -> None:
        quiet_seconds = now - self._doubted_at
        if quiet_seconds < self._doubt_pause_seconds:
            return
        doubled = 2 * self._doubt_pause_seconds if quiet_seconds < 2 * LONGEST_DOUBT_PAUSE_SECONDS else 0.0
        self._doubt_pause_seconds = min(max(doubled, DOUBT_PAUSE_SECONDS), LONGEST_DOUBT_PAUSE_SECONDS)
        self._doubted_at = self._connected_at = now
        log.warning("a request got no answer while others did; connecting anew", extra={"waited_seconds": f"{waited_seconds:.1f}"})
        _tell(self._on_loss)
        _tell(self._on_doubt)

    def now(self) -> float:
        """Return the time by the clock that `failed` counts by."""
        return self._clock()

    async def watch_for_standstills(self) -> None:
        """Treat a time when this process was stopped, or the machine asleep, as an outage that is over; runs until cancelled."""
        while True:
            before = self._clock()
            await asyncio.sleep(PULSE_SECONDS)
            stood_still = self._clock() - before - PULSE_SECONDS
            if stood_still > STANDSTILL_SECONDS:
                log.warning("this process stood still", extra={"seconds": f"{stood_still:.0f}"})
                _tell(self._on_loss)
                self._recover()

    def _recover(self) -> None:
        self._connected_at = self._clock()
        _tell(self._on_recovery)


def _tell(listeners: list[Callable[[], None]]) -> None:
    for listener in listeners:
        listener()


class ObservedTransport:
    """Sends through another transport, and records in a Connectivity how it went."""

    def __init__(self, transport: Transport, connectivity: Connectivity) -> None:
        self._transport, self._connectivity = transport, connectivity
        connectivity.on_loss(transport.renew)

    async def send(self, request: Request) -> Response:
        """Send and read the whole answer."""
        sent_at = self._connectivity.now()
        try:
            response = await self._transport.send(request)
        except (Unreachable, asyncio.CancelledError):
            # A request that was given up had no answer; if all is well, another request gets one.
            self._connectivity.failed(sent_at)
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

    def renew(self) -> None:
        """Use no connection from before for what is sent from now on."""
        self._transport.renew()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()
