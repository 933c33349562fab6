"""Elects one of several replicas: it holds a Lease, and stops working before the others may assume that it is gone.

Everything is measured on our own clock: how long ago we began the last successful renewal, and for how long we have seen
another's Lease unchanged. The times in the Lease are for people. The Lease itself is not trusted either: anybody may delete,
edit or restore it while its holder still works. So a holder that finds the Lease gone or without its name stops at once, and
nobody takes a Lease before seeing it unchanged for as long as any holder can still work, unless the holder released it and
left a mark that fits this very object. Tests: tests/controller/runtime/test_elector.py,
tests/integration/test_runtime_elector.py, tests/controller/runtime/test_elector_meddling.py, tests/integration/test_leadership.py.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from controller.runtime.backoff import Jitter
from controller.runtime.client import Client
from controller.runtime.errors import Conflict, KubeError, NotFound, NotLeading
from controller.runtime.resources import LEASES, KubeObject, Resource
from controller.runtime.rights import rights
from controller.runtime.transport import Request, Response, Stream, Transport

log = logging.getLogger(__name__)

RIGHTS = rights(LEASES, "get", "create", "update")
"""Granted apart from all others, in the Lease's namespace: a create cannot be limited to a name, the other two are."""
RELEASE_RETRY_SECONDS = 0.1
CLOCK_SECONDS = 0.001
"""More than timers and clocks differ by."""
RELEASED = "finetune.dev/released-lease"
"""Annotation with the UID of the Lease that its holder released: neither an edit nor a restored copy has it."""
LONGEST_DURATION_SECONDS = 300.0
"""The longest that a Lease can make others wait: a mistyped duration must not keep everybody out for days."""


@dataclass(frozen=True)
class LeaseTimings:
    """Seconds; retry < renew_deadline < duration, and the gap between the last two is for requests still in flight."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0

    @property
    def request(self) -> float:
        """Two requests fit before the deadline, so that one lost packet does not end the leadership."""
        return self.renew_deadline / 2


def clock_with_suspend() -> float:
    """Return seconds that also count while the machine is suspended; Linux's monotonic clock stops then."""
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
        self._not_before = float("-inf")
        """Until then the holder of a Lease that somebody deleted may still work, so we must not."""
        self._uid = ""
        """UID of the Lease that we hold or held last."""
        self._stamp = ""
        """The renewTime that we wrote last, perhaps without an answer; empty once the Lease was seen with another."""
        self._seen: tuple[str, float] | None = None
        """The resourceVersion of the Lease that was seen last, and since when by our clock."""
        self._held: KubeObject | None = None
        """The Lease as we wrote it last, if the answer came: it is renewed without being read, and a write by anybody else shows."""
        self._longest = timings.duration
        """The longest that any holder we know of may work without a renewal."""

    def leading(self) -> bool:
        """Return whether we may work now; checked before every write, so that not even a stalled process writes too late."""
        return self._not_before <= self._clock() < self._leads_until

    async def acquire(self) -> None:
        """Return once we hold the lease and no other can still work in its name."""
        while not self.leading():
            await self._attempt(self._timings.request)
            if self.leading():
                break
            pause = self._timings.retry * (1.0 + 0.2 * self._jitter())
            # The moment when it may be ours is known: nobody has to lead for a whole pause longer.
            expires = self._seen[1] + self._longest if self._seen is not None else float("-inf")
            waits = [moment - self._clock() for moment in (self._not_before, expires)]
            await asyncio.sleep(min(pause, *(wait + CLOCK_SECONDS for wait in waits if wait > 0)) if max(waits) > 0 else pause)
        log.info("leading", extra={"lease": f"{self.namespace}/{self.name}", "identity": self.identity})

    async def keep(self) -> None:
        """Renew the lease; returns when it is lost, or could not be renewed before the deadline."""
        while True:
            await asyncio.sleep(min(self._timings.retry, max(0.0, self._leads_until - self._clock())))
            remaining = self._leads_until - self._clock()
            if remaining <= 0:
                break
            await self._attempt(min(remaining, self._timings.request))
        self._leads_until = float("-inf")
        log.error("leadership lost", extra={"lease": f"{self.namespace}/{self.name}", "identity": self.identity})

    async def release(self) -> None:
        """Give the lease up for whoever asks next; otherwise the others wait until it has expired."""
        if not self.leading():
            return
        # From here on nothing is written in the lease's name, whether or not the release succeeds.
        self._leads_until = float("-inf")
        try:
            async with asyncio.timeout(self._timings.duration - self._timings.renew_deadline):
                while not await self._hand_over():  # noqa: ASYNC110  (nobody would set an event)
                    await asyncio.sleep(RELEASE_RETRY_SECONDS)
        except (KubeError, TimeoutError) as error:
            log.warning("the lease could not be released and has to expire", extra={"error": str(error) or "no answer in time"})

    async def _hand_over(self) -> bool:
        """Remove our name from the lease; False if it was written meanwhile, for instance by a renewal still in flight."""
        lease = await self._client.get(LEASES, self.name, self.namespace)
        if not self._names_us(lease):
            return True
        spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        metadata = lease["metadata"]
        annotations = {**(metadata.get("annotations") or {}), RELEASED: metadata["uid"]}
        try:
            await self._client.replace(LEASES, {**lease, "metadata": {**metadata, "annotations": annotations}, "spec": spec})
        except Conflict:
            return False
        log.info("lease released", extra={"lease": f"{self.namespace}/{self.name}"})
        return True

    async def _attempt(self, timeout_seconds: float) -> None:
        """Acquire or renew once; a Lease that is gone or not ours ends our leadership, a request that failed does not."""
        started = self._clock()
        try:
            async with asyncio.timeout(timeout_seconds):
                held = await self._acquire_or_renew(started)
        except (KubeError, TimeoutError) as error:
            log.warning("lease not renewed", extra={"lease": self.name, "error": str(error) or f"no answer in {timeout_seconds:g} s"})
            return
        # Counted from before the request, because that is the earliest moment from which the others may count their wait.
        self._leads_until = started + self._timings.renew_deadline if held else float("-inf")

    async def _acquire_or_renew(self, started: float) -> bool:
        in_term = started < self._leads_until
        held, self._held = self._held, None
        if in_term and held is not None:
            with suppress(Conflict, NotFound):
                await self._write(self._client.replace, held)
                return True
        try:
            lease = await self._client.get(LEASES, self.name, self.namespace)
        except NotFound:
            if in_term:
                log.error("the lease was deleted while we held it", extra={"lease": f"{self.namespace}/{self.name}"})
                return False
            await self._create()
            return True
        self._look_at(lease)
        if not (in_term and self._is_still_ours(lease)) and not self._free(lease):
            return False
        await self._write(self._client.replace, lease)
        self._longest = self._timings.duration
        return True

    async def _create(self) -> None:
        """Create the Lease in our name, then wait until a holder of a deleted one, who may not have noticed, can no longer work."""
        self._not_before = self._clock() + self._longest
        self._uid = ""
        about = {"lease": f"{self.namespace}/{self.name}", "wait_seconds": f"{self._longest:g}"}
        log.info("there is no lease; it is created, and work begins once no earlier holder can still work", extra=about)
        await self._write(self._client.create, {"metadata": {"namespace": self.namespace, "name": self.name}})

    def _look_at(self, lease: KubeObject) -> None:
        """Note since when the Lease has been unchanged, and the longest that any holder may rely on it."""
        spec = lease.get("spec") or {}
        version = lease["metadata"]["resourceVersion"]
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, self._clock())
        self._longest = max(self._longest, min(spec.get("leaseDurationSeconds") or 0.0, LONGEST_DURATION_SECONDS))
        if not self._is_our_last_write(lease):
            self._stamp = ""

    def _free(self, lease: KubeObject) -> bool:
        metadata = lease["metadata"]
        released = not _holder(lease) and (metadata.get("annotations") or {}).get(RELEASED) == metadata["uid"]
        unchanged_seconds = self._clock() - self._seen[1] if self._seen is not None else 0.0
        return released or self._is_our_last_write(lease) or unchanged_seconds > self._longest

    def _names_us(self, lease: KubeObject) -> bool:
        return _holder(lease) == self.identity

    def _is_still_ours(self, lease: KubeObject) -> bool:
        """Return whether this is the Lease that we hold, and not a replacement."""
        return self._names_us(lease) and self._uid in ("", lease["metadata"]["uid"])

    def _is_our_last_write(self, lease: KubeObject) -> bool:
        """Return whether nobody has written since we did: then nobody else can have begun to work, however long ago that was."""
        return bool(self._stamp) and self._is_still_ours(lease) and lease["spec"].get("renewTime") == self._stamp

    async def _write(self, send: Callable[[Resource, KubeObject], Awaitable[KubeObject]], lease: KubeObject) -> None:
        spec, metadata = lease.get("spec") or {}, dict(lease["metadata"])
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = spec.get("holderIdentity") == self.identity
        new = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self._timings.duration),
            "acquireTime": spec.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": (spec.get("leaseTransitions") or 0) + (0 if ours or not spec else 1),
        }
        if metadata.get("annotations"):
            metadata["annotations"] = {name: value for name, value in metadata["annotations"].items() if name != RELEASED}
        self._stamp = now
        # Has the UID and resourceVersion that were read: if two try, or it was deleted, one gets Conflict and looks again.
        item = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, **lease, "metadata": metadata, "spec": new}
        written = await send(LEASES, item)
        self._uid = written["metadata"]["uid"]
        self._seen = (written["metadata"]["resourceVersion"], self._clock())
        self._held = written


def _holder(lease: KubeObject) -> str:
    return (lease.get("spec") or {}).get("holderIdentity") or ""


class FencedTransport:
    """Always sends reads, and writes only while `may_write` allows it; the last barrier against two leaders."""

    def __init__(self, transport: Transport, may_write: Callable[[], bool]) -> None:
        self._transport = transport
        self._may_write = may_write

    async def send(self, request: Request) -> Response:
        """Send; NotLeading for a write that is not allowed now, or no longer once it has a connection."""
        if request.method == "GET":
            return await self._transport.send(request)

        def check() -> None:
            if not self._may_write():
                raise NotLeading(f"{request}: not sent: this process does not hold the lease")

        check()
        return await self._transport.send(replace(request, guard=check))

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        """Streams only read."""
        return self._transport.stream(request)

    def renew(self) -> None:
        """Use no connection from before for what is sent from now on."""
        self._transport.renew()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()
