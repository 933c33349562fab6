"""Lets one of several replicas work: it holds a Lease, and stops before the others may think that it is gone.

All that counts is measured on our own clock: how long ago we began the last renewal that succeeded, and for how long we
have seen the other's Lease unchanged. The times in the Lease are for people. Tests:
tests/controller/runtime/test_elector.py, tests/integration/test_runtime_elector.py.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

from controller.runtime.backoff import Jitter
from controller.runtime.client import Client
from controller.runtime.errors import Conflict, KubeError, NotFound, NotLeading
from controller.runtime.resources import LEASES, KubeObject, Resource
from controller.runtime.transport import Request, Response, Stream, Transport

log = logging.getLogger(__name__)

RELEASE_RETRY_SECONDS = 0.1


@dataclass(frozen=True)
class LeaseTimings:
    """Seconds; retry < renew_deadline < duration, and the gap between the last two is for requests still on their way."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0


def clock_with_suspend() -> float:
    """Return seconds that go on while the machine is suspended; the plain monotonic clock of Linux stands still then."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Elector:
    """Acquires, keeps and releases the Lease `namespace/name` as `identity`."""

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        name: str,
        identity: str,
        timings: LeaseTimings = LeaseTimings(),
        clock: Callable[[], float] = clock_with_suspend,
        jitter: Jitter = random.random,
    ) -> None:
        self._client = client
        self.namespace = namespace
        self.name = name
        self.identity = identity
        self._timings = timings
        self._clock = clock
        self._jitter = jitter
        self._leads_until = float("-inf")
        self._seen: tuple[str, float] | None = None
        """The resourceVersion of the Lease that was seen last, and since when on our clock."""

    def leading(self) -> bool:
        """Whether we may work now; asked before every write, so that not even a stalled process writes too late."""
        return self._clock() < self._leads_until

    async def acquire(self) -> None:
        """Return once we hold the lease."""
        while not await self._attempt(self._timings.renew_deadline):  # noqa: ASYNC110  (nobody would set an event)
            await asyncio.sleep(self._timings.retry * (1.0 + 0.2 * self._jitter()))
        log.info("leading", extra={"lease": f"{self.namespace}/{self.name}", "identity": self.identity})

    async def keep(self) -> None:
        """Renew the lease; returns when it is lost, or could not be renewed before the deadline."""
        while True:
            await asyncio.sleep(min(self._timings.retry, max(0.0, self._leads_until - self._clock())))
            remaining = self._leads_until - self._clock()
            if remaining <= 0:
                break
            # Two requests fit before the deadline, so that one lost packet does not end the leadership.
            await self._attempt(min(remaining, self._timings.renew_deadline / 2))
        self._leads_until = float("-inf")
        log.error("leadership lost", extra={"lease": f"{self.namespace}/{self.name}", "identity": self.identity})

    async def release(self) -> None:
        """Hand the lease to whoever asks next; without it the others wait until it has expired."""
        if not self.leading():
            return
        # From here on nothing is written in the lease's name, whatever becomes of it.
        self._leads_until = float("-inf")
        try:
            async with asyncio.timeout(self._timings.duration - self._timings.renew_deadline):
                while not await self._hand_over():  # noqa: ASYNC110  (nobody would set an event)
                    await asyncio.sleep(RELEASE_RETRY_SECONDS)
        except (KubeError, TimeoutError) as error:
            log.warning("the lease could not be released and has to expire", extra={"error": str(error) or "no answer in time"})

    async def _hand_over(self) -> bool:
        """Take our name out of the lease; False if it was written meanwhile, as by a renewal that was still on its way."""
        lease = await self._client.get(LEASES, self.name, self.namespace)
        if lease["spec"].get("holderIdentity") != self.identity:
            return True
        spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._client.replace(LEASES, {**lease, "spec": spec})
        except Conflict:
            return False
        log.info("lease released", extra={"lease": f"{self.namespace}/{self.name}"})
        return True

    async def _attempt(self, timeout_seconds: float) -> bool:
        """Acquire or renew once; False if another holds the lease, which ends our leadership, or if the request failed."""
        started = self._clock()
        try:
            async with asyncio.timeout(timeout_seconds):
                held = await self._acquire_or_renew()
        except (KubeError, TimeoutError) as error:
            log.warning("lease not renewed", extra={"lease": self.name, "error": str(error) or f"no answer in {timeout_seconds:g} s"})
            return False
        # Counted from before the request: from then on, at the earliest, the others count their wait.
        self._leads_until = started + self._timings.renew_deadline if held else float("-inf")
        return held

    async def _acquire_or_renew(self) -> bool:
        try:
            lease = await self._client.get(LEASES, self.name, self.namespace)
        except NotFound:
            await self._write(self._client.create, {"metadata": {"namespace": self.namespace, "name": self.name}})
            return True
        if not self._free(lease):
            return False
        await self._write(self._client.replace, lease)
        return True

    def _free(self, lease: KubeObject) -> bool:
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        version = lease["metadata"]["resourceVersion"]
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, self._clock())
        if holder in {"", self.identity}:
            return True
        return self._clock() - self._seen[1] > (spec.get("leaseDurationSeconds") or self._timings.duration)

    async def _write(self, send: Callable[[Resource, KubeObject], Awaitable[KubeObject]], lease: KubeObject) -> None:
        spec = lease.get("spec") or {}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = spec.get("holderIdentity") == self.identity
        new = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self._timings.duration),
            "acquireTime": spec.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": spec.get("leaseTransitions", 0) + (0 if ours or not spec else 1),
        }
        # Bears the resourceVersion that was read: if two try, one gets Conflict and looks again.
        await send(LEASES, {"apiVersion": LEASES.api_version, "kind": LEASES.kind, **lease, "spec": new})


class FencedTransport:
    """Sends reads always and writes only while `may_write` says so; the last barrier against two leaders."""

    def __init__(self, transport: Transport, may_write: Callable[[], bool]) -> None:
        self._transport = transport
        self._may_write = may_write

    async def send(self, request: Request) -> Response:
        """Send; NotLeading if it is a write that is not allowed now."""
        if request.method != "GET" and not self._may_write():
            raise NotLeading(f"{request}: not sent, for this process does not hold the lease")
        return await self._transport.send(request)

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        """Streams only read."""
        return self._transport.stream(request)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()
