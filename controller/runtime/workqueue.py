"""Which keys wait to be worked on, and when: each at most once in the queue and never with two workers.

KeySchedule is the pure part, with time as an argument; WorkQueue lets workers wait on it. Knows nothing about what
a key means. Tests: tests/controller/runtime/test_workqueue.py.
"""

import asyncio
import heapq
import random
import time
from collections import deque
from collections.abc import Callable

from controller.runtime.backoff import Jitter, backoff_seconds

BASE_DELAY_SECONDS = 0.25
MAX_DELAY_SECONDS = 120.0
"""A job that has failed for an hour is still retried every two minutes; glitches of the API are shorter."""

STALE_MOST = 64
"""Delays that are over before their time, kept beside as many again as still hold: a deadline may be weeks away."""


class QueueClosed(Exception):  # noqa: N818  (it is no error: the process ends)
    """The queue is closed and gives out no more keys."""


class KeySchedule:
    """Keys that are ready, in order; keys that become ready later; keys that are being worked on.

    A key added while it is being worked on is ready again when that is done, so no change is lost and no key is worked on
    twice at once. Taking a key cancels its delay: whoever works on it now sees everything that the delay was for.
    """

    def __init__(self) -> None:
        self._ready: deque[str] = deque()
        self._waiting: set[str] = set()
        self._working: set[str] = set()
        self._again: set[str] = set()
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._ready) + len(self._again)

    @property
    def working(self) -> int:
        """How many keys are being worked on."""
        return len(self._working)

    def add(self, key: str) -> bool:
        """Make `key` ready; False if it already was."""
        if key in self._waiting or key in self._again:
            return False
        self._due.pop(key, None)
        if key in self._working:
            self._again.add(key)
        else:
            self._waiting.add(key)
            self._ready.append(key)
        return True

    def add_at(self, key: str, due: float) -> None:
        """Make `key` ready at the time `due`, unless it is ready or due earlier."""
        if key in self._waiting or key in self._again or self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        if len(self._heap) > 2 * len(self._due) + STALE_MOST:
            self._heap = [(time, key) for key, time in self._due.items()]
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, (due, key))

    def take(self, now: float) -> str | None:
        """Return the key that has been ready longest and mark it as being worked on; None if there is none."""
        self._collect_due(now)
        if not self._ready:
            return None
        key = self._ready.popleft()
        self._waiting.discard(key)
        self._due.pop(key, None)
        self._working.add(key)
        return key

    def done(self, key: str) -> None:
        """Record that the work on `key` has ended."""
        self._working.remove(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def next_due(self) -> float | None:
        """Return when the next delayed key becomes ready; None if none is delayed."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _collect_due(self, now: float) -> None:
        while (due := self.next_due()) is not None and due <= now:
            self.add(heapq.heappop(self._heap)[1])


class WorkQueue:
    """A KeySchedule that workers wait on, with a delay per key that doubles with each failure.

    `clock` is in seconds, `jitter` returns a number from 0 to 1; tests pass their own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, jitter: Jitter = random.random) -> None:
        self._schedule = KeySchedule()
        self._failures: dict[str, int] = {}
        self._passing: set[str] = set()
        """Keys that were delayed by an outage, not by a fault of their own."""
        self._clock = clock
        self._jitter = jitter
        self._wake = asyncio.Event()
        self._closed = False
        self.on_add: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._schedule)

    def add(self, key: str) -> None:
        """Make `key` ready for the next free worker."""
        if self._schedule.add(key):
            self.on_add()
            self._wake.set()

    def add_after(self, key: str, seconds: float) -> None:
        """Make `key` ready in `seconds`, or earlier if it is added before."""
        self._schedule.add_at(key, self._clock() + max(0.0, seconds))
        self._wake.set()

    def retry(self, key: str, least_seconds: float = 0.0, *, longest_seconds: float = MAX_DELAY_SECONDS, passing: bool = False) -> float:
        """Delay `key`, twice as long each time in a row, beginning with about `least_seconds`; return the delay.

        The delay grows to `longest_seconds`, or to `least_seconds` if that is more.
        `passing`: the API server did not answer, or we were not allowed to ask; see `hurry`.
        """
        if passing:
            self._passing.add(key)
        else:
            self._passing.discard(key)
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = backoff_seconds(failures, max(BASE_DELAY_SECONDS, least_seconds), max(longest_seconds, least_seconds), self._jitter)
        self.add_after(key, delay)
        return delay

    def hurry(self) -> None:
        """Make the keys that an outage has delayed due within about a second, because it is over."""
        for key in sorted(self._passing):
            self._failures.pop(key, None)
            self.add_after(key, self._jitter())
        self._passing.clear()

    def forget(self, key: str) -> None:
        """Record that the work on `key` succeeded: its next failure counts as the first again."""
        self._failures.pop(key, None)
        self._passing.discard(key)

    async def take(self) -> str:
        """Return the next key; the caller must call `done`. QueueClosed once the queue is closed."""
        while True:
            if self._closed:
                raise QueueClosed
            key = self._schedule.take(self._clock())
            if key is not None:
                return key
            self._wake.clear()
            due = self._schedule.next_due()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                    await self._wake.wait()
            except TimeoutError:
                continue

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Give out no more keys; work in progress is not affected."""
        self._closed = True
        self._wake.set()

    def done(self, key: str) -> None:
        """Record that the work on `key` has ended; it is given out again if it was added meanwhile."""
        self._schedule.done(key)
        self._wake.set()
