"""Takes keys from the queue, has each reconciled, and decides from the outcome when to reconcile it again.

Knows nothing about what is reconciled. Tests: tests/controller/runtime/test_workers.py.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from controller.runtime.backoff import AGAIN_SPREAD, Jitter
from controller.runtime.errors import (
    Conflict,
    KubeError,
    NotLeading,
    ServerError,
    TerminalError,
    TooManyRequests,
    Unreachable,
    WaitingError,
)
from controller.runtime.metrics import Metrics
from controller.runtime.workqueue import MAX_DELAY_SECONDS, QueueClosed, WorkQueue

log = logging.getLogger(__name__)

Reconcile = Callable[[str], Awaitable[float | None]]
"""Reconciles the object that `key` names; returns after how many seconds to do so again, None: at the next change."""

WAITING_BASE_SECONDS = 5.0
"""What somebody else must do takes longer than a glitch of the API, and a watch mostly notices it."""
ASKED_TO_WAIT_LONGEST_SECONDS = 10.0
"""An API server that asks to slow down, for instance while it starts, says for how long."""
RECONCILE_LIMIT_SECONDS = 120.0
"""Every request has a time-out of its own; this ends what hangs for another reason."""


class Workers:
    """`count` workers on one queue. `run` ends when the queue is closed and all work in progress is finished, or when cancelled."""

    def __init__(
        self,
        queue: WorkQueue,
        reconcile: Reconcile,
        metrics: Metrics,
        count: int,
        *,
        limit_seconds: float = RECONCILE_LIMIT_SECONDS,
        jitter: Jitter = random.random,
    ) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._metrics = metrics
        self._count = count
        self._limit_seconds = limit_seconds
        self._jitter = jitter

    async def run(self) -> None:
        """Work until the queue is closed; cancelling ends the work at its next await and puts its keys back."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._count):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            try:
                key = await self._queue.take()
            except QueueClosed:
                return
            try:
                await self._handle(key)
            except asyncio.CancelledError:
                self._queue.add(key)
                raise
            finally:
                self._queue.done(key)

    async def _handle(self, key: str) -> None:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._limit_seconds):
                again_after = await self._reconcile(key)
        except Exception as error:
            self._put_off(key, error)
        else:
            self._queue.forget(key)
            if again_after is not None:
                # Never earlier than requested, and a little later, so that jobs created together spread out.
                self._queue.add_after(key, again_after * (1.0 + AGAIN_SPREAD * self._jitter()))
        finally:
            self._metrics.reconcile_seconds.observe(time.perf_counter() - started)

    def _put_off(self, key: str, error: Exception) -> None:
        kind = _kind_of(error)
        self._metrics.reconcile_errors.labels(kind).inc()
        about = {"key": key, "kind": kind, "error": f"{type(error).__name__}: {error}"}
        within, after = getattr(error, "again_within_seconds", None), getattr(error, "retry_after_seconds", None) or 0.0
        if within is not None:
            # What else is due by then must not wait for the longest pause of the retries.
            self._queue.add_after(key, max(within, after, WAITING_BASE_SECONDS))
        if kind == "terminal":
            log.error("reconcile failed; retrying when something changes", extra=about)
            return
        self._metrics.queue_retries.inc()
        least = WAITING_BASE_SECONDS if kind == "waiting" else 0.0
        passing = isinstance(error, (Unreachable, NotLeading, ServerError, TimeoutError))
        longest = ASKED_TO_WAIT_LONGEST_SECONDS if isinstance(error, TooManyRequests) else MAX_DELAY_SECONDS
        delay = self._queue.retry(key, max(least, after), longest_seconds=longest, passing=passing)
        about["retry_in_seconds"] = f"{delay:.1f}"
        if isinstance(error, (Conflict, NotLeading)):
            # Ordinary: somebody else wrote first.
            log.info("reconcile put off", extra=about)
        elif isinstance(error, KubeError):
            log.warning("reconcile put off", extra=about)
        else:
            log.exception("reconcile failed unexpectedly; retrying", extra=about)


def _kind_of(error: Exception) -> str:
    if isinstance(error, WaitingError):
        return "waiting"
    if isinstance(error, TerminalError):
        return "terminal"
    return "retryable" if isinstance(error, (KubeError, TimeoutError)) else "unexpected"
