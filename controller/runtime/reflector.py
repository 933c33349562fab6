"""Keeps a Store equal to what the API server holds: list, then watch, for as long as the process lives.

A cut, silent or ended watch resumes from the last resourceVersion; if that is too old, everything is listed again and what
has vanished is reported as deleted. If a resource is not served, the reflector waits for it. Tests:
tests/controller/runtime/test_reflector.py, tests/integration/test_runtime_reflector.py.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from controller.runtime.backoff import Jitter, backoff_seconds
from controller.runtime.client import PAGE_LIMIT, Client, Project, WatchEvent
from controller.runtime.errors import Forbidden, Gone, KubeError, ResourceAbsent, ServerError, TooManyRequests, Unauthorized, Unreachable
from controller.runtime.metrics import Metrics
from controller.runtime.resources import KubeObject, Resource, object_key
from controller.runtime.store import Change, Filled, Packed, StoreState, packed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """Which objects of a resource, and how much of them."""

    namespace: str | None = None
    label_selector: str | None = None
    metadata_only: bool = False


@dataclass(frozen=True)
class Timings:
    """A reflector's waiting times, in seconds."""

    watch_seconds: int = 300
    """The server ends a watch after between this and twice this, so that many do not come back at once."""
    inactivity_seconds: float = 120.0
    """Twice the pause between bookmarks: a watch that is silent for longer is dead."""
    backoff_base_seconds: float = 0.5
    backoff_maximum_seconds: float = 30.0
    """For what is refused or missing; the end of an outage is reported through `reconnect`."""
    settled_seconds: float = 5.0
    """A watch that lasted this long was good: the next failure counts as the first again."""


RESUME_ATTEMPTS = 3
"""A server that was restored from a backup may refuse our resourceVersion with a 5xx every time: then list."""
ABSENT_AFTER = 3
"""How often in a row a served resource must be missing before its objects count as deleted."""
SLOWEST_LIST_SECONDS = 300.0


def without_managed_fields(item: KubeObject) -> KubeObject:
    """Drop managed fields, which nobody reads and which are often more than half of an object."""
    item["metadata"].pop("managedFields", None)
    return item


class Reflector:
    """Fills `store` with the selected objects of `resource`, reduced by `project`, and calls `on_change` for each difference.

    `on_state` is called when the resource turns out to be served or absent. Both run on the event loop and must not block.
    `optional`: clusters that do not serve the resource are as good as others, and nothing warns.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        store: Filled,
        metrics: Metrics,
        *,
        on_change: Callable[[Change], None] = lambda change: None,
        on_state: Callable[[StoreState], None] = lambda state: None,
        optional: bool = False,
        selection: Selection = Selection(),
        project: Project = without_managed_fields,
        timings: Timings = Timings(),
        page_limit: int = PAGE_LIMIT,
        jitter: Jitter = random.random,
    ) -> None:
        self.resource = resource
        self.store = store
        self._client = client
        self._metrics = metrics
        self._on_change = on_change
        self._on_state = on_state
        self._optional = optional
        self._selection = selection
        self._project = project
        self._timings = timings
        self._page_limit = page_limit
        self._jitter = jitter
        self._version: str | None = None
        self._failures = 0
        self._reason = ""
        self._retry_after_seconds = 0.0
        self._refused_resumes = 0
        self._missing = 0
        self.refused = False
        """Whether the last list or watch was forbidden."""
        self._about = {"resource": str(resource), **({"namespace": selection.namespace} if selection.namespace else {})}
        self._active_at = time.monotonic()
        self._reconnect = asyncio.Event()
        self._watches = self._reopens = False
        metrics.follow_objects(str(resource), store.count)

    @property
    def namespace(self) -> str | None:
        """The only namespace whose objects are kept, None for all."""
        return self._selection.namespace

    @property
    def live(self) -> bool:
        """Whether the loop below still runs; an API server that is down does not make it dead."""
        longest = self._timings.inactivity_seconds + 2 * self._timings.backoff_maximum_seconds + SLOWEST_LIST_SECONDS
        return time.monotonic() - self._active_at < longest

    def reconnect(self) -> None:
        """Retry at once, over a new connection: the open one may be dead, and what failed before may succeed now."""
        self._reopens = False
        self._reconnect.set()

    def reopen(self) -> None:
        """Open the watch again over a new connection, if one is open: it may be dead. Lists and pauses go on; failures still count."""
        if self._watches and not self._reconnect.is_set():
            self._reopens = True
            self._reconnect.set()

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            self._active_at = time.monotonic()
            self._retry_after_seconds = 0.0
            turn, called = asyncio.create_task(self._turn()), asyncio.create_task(self._reconnect.wait())
            try:
                await asyncio.wait((turn, called), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (turn, called):
                    task.cancel()
                await asyncio.gather(turn, called, return_exceptions=True)
            if self._reconnect.is_set():
                self._reconnect.clear()
                self._failures = self._failures if self._reopens else 0
                self._reopens = False
            if not turn.cancelled():
                turn.result()

    async def _turn(self) -> None:
        """List and watch once, and wait before the next time as long as the outcome suggests."""
        started = asyncio.get_running_loop().time()
        reason = await self._list_and_watch()
        held_seconds = asyncio.get_running_loop().time() - started
        if held_seconds >= self._timings.settled_seconds:
            self._failures = 0
            if reason == "ended":
                return
        if reason == "gone" and self._reason != "gone":
            # The server works and its answer requires a list: earlier failures no longer count.
            self._failures = 0
        self._reason = reason
        delay = backoff_seconds(self._failures, self._timings.backoff_base_seconds, self._timings.backoff_maximum_seconds, self._jitter)
        self._failures += 1
        await asyncio.sleep(max(delay, self._retry_after_seconds))

    async def _list_and_watch(self) -> str:
        """List if there is nothing to resume, then watch until the watch ends; return why it did."""
        try:
            if self._version is None:
                self._version = await self._list()
            await self._watch(self._version)
        except KubeError as problem:
            known_absent = self.store.state is StoreState.ABSENT
            reason = self._explain(problem)
            # What is not installed is looked for again and again, and told once.
            level = logging.DEBUG if reason == "absent" and (known_absent or self._optional) else logging.WARNING
            log.log(level, "watch failed", extra={**self._about, "reason": reason, "error": str(problem)})
        else:
            reason = "ended"
        self._metrics.watch_restarts.labels(str(self.resource), reason).inc()
        return reason

    def _explain(self, problem: KubeError) -> str:
        """React to a failure and return its name for logs and metrics."""
        # Bounded: a proxy in maintenance may ask for so long a pause that the reflector would count as hung.
        self._retry_after_seconds = min(problem.retry_after_seconds or 0.0, self._timings.inactivity_seconds)
        if isinstance(problem, ResourceAbsent):
            self._missing += 1
            # An API server that is starting may not serve everything yet: do not discard the cache at once.
            if self.store.state is not StoreState.SYNCED or self._missing >= ABSENT_AFTER:
                self._forget_all()
            return "absent"
        if isinstance(problem, Gone):
            self._version = None
            return "gone"
        if isinstance(problem, Unreachable):
            return "unreachable"
        if isinstance(problem, (TooManyRequests, Unauthorized)):
            # Neither invalidates the resourceVersion to resume from, and a list costs the server more than a watch.
            return type(problem).__name__
        if isinstance(problem, Forbidden):
            self.refused = True
            self.store.refuse()
        self._refused_resumes += 1
        if not isinstance(problem, ServerError) or self._refused_resumes >= RESUME_ATTEMPTS:
            self._version = None
            self._refused_resumes = 0
        return type(problem).__name__

    async def _list(self) -> str:
        chosen = self._selection
        pages = self._client.pages(
            self.resource,
            chosen.namespace,
            label_selector=chosen.label_selector,
            limit=self._page_limit,
            metadata_only=chosen.metadata_only,
        )
        items, version = list[Packed](), ""
        async with aclosing(pages):
            async for page in pages:
                # Packed at once: decoded, all of them would be the most memory that this process ever needs.
                items += [packed(self._project(item)) for item in page.items]
                version = page.resource_version
        self._missing = 0
        self.refused = False
        changes = self.store.replace(items)
        self._set_state(StoreState.SYNCED)
        for change in changes:
            self._on_change(change)
        log.info("listed", extra={**self._about, "objects": len(items), "changes": len(changes)})
        return version

    async def _watch(self, version: str) -> None:
        chosen = self._selection
        events = self._client.watch(
            self.resource,
            chosen.namespace,
            resource_version=version,
            timeout_seconds=round(self._timings.watch_seconds * (1.0 + self._jitter())),
            inactivity_seconds=self._timings.inactivity_seconds,
            label_selector=chosen.label_selector,
            metadata_only=chosen.metadata_only,
        )
        async with aclosing(events), self._open():
            while True:
                try:
                    async with asyncio.timeout(self._timings.inactivity_seconds):
                        event = await anext(events, None)
                except TimeoutError as error:
                    raise Unreachable(f"watch {self.resource}: silent for {self._timings.inactivity_seconds:g} s") from error
                if event is None:
                    return
                self._take(event)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        self._watches = True
        try:
            yield
        finally:
            self._watches = False

    def _take(self, event: WatchEvent) -> None:
        self._active_at = time.monotonic()
        version = event.object["metadata"]["resourceVersion"]
        if version == self._version:
            return
        if _is_older(version, self._version):
            # The server sends changes in their order. Which of them are missing, doubled or late, only a list can tell.
            raise Gone(f"watch {self.resource}: a change of version {version} came after one of {self._version}")
        self._refused_resumes = self._missing = 0
        change: Change | None = None
        if event.type == "DELETED":
            change = self.store.remove(object_key(event.object))
        elif event.type in {"ADDED", "MODIFIED"}:
            change = self.store.put(self._project(event.object))
        # Only now: a change that was not processed must be sent again.
        self._version = version
        if change is not None:
            self._on_change(change)

    def _forget_all(self) -> None:
        self._version = None
        changes = self.store.replace(())
        self._set_state(StoreState.ABSENT)
        for change in changes:
            self._on_change(change)

    def _set_state(self, state: StoreState) -> None:
        changed = self.store.state is not state
        self.store.state = state
        if changed:
            level = logging.WARNING if state is StoreState.ABSENT and not self._optional else logging.INFO
            log.log(level, "cache is now " + state, extra=self._about)
            self._on_state(state)


def _is_older(version: str, than: str | None) -> bool:
    """Return whether a resourceVersion comes before another; those of the API server are numbers."""
    return than is not None and version.isdecimal() and than.isdecimal() and int(version) < int(than)
