"""Figures reach their sinks in a thread of their own: a slow disk or a lost node must not hold up the next step.

The sinks are opened there too, with the first figures, so that the first step waits for no import and no file.
Test: tests/trainer/reporting/test_background.py.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from trainer.reporting.sinks import SinkOpener, TimedSink

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 10.0
"""Far longer than all sinks together need; one that is still busy then has lost its disk or its network."""
WAITING_MAX = 10_000
"""Figures that wait for a sink that is stuck; about 5 MB. Later ones are dropped."""


class BackgroundSink:
    """A sink that hands figures on in order, and returns at once. A context manager, which ends the thread."""

    def __init__(self, opener: SinkOpener, clock: Callable[[], float] = time.time) -> None:
        self._opener, self._clock = opener, clock
        self._waiting: SimpleQueue[tuple[int, Mapping[str, float], float] | threading.Event | None] = SimpleQueue()
        self._late: threading.Event | None = None
        """The flush that was given up; while it is not done, no other one is waited for."""
        self._dropped = False
        # A daemon: a sink that is stuck must not keep the program from ending.
        self._thread = threading.Thread(target=self._work, name="sinks", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.flush()
        self._waiting.put(None)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Store figures soon, with the time of this call, when they are known.

        They are dropped, with a warning for the first, when the sinks are stuck.
        """
        if self._waiting.qsize() < WAITING_MAX:
            self._waiting.put((step, dict(figures), self._clock()))
        elif not self._dropped:
            self._dropped = True
            logger.warning("the sinks for figures are stuck: those from step %d on are dropped", step)

    def flush(self) -> None:
        """Wait until all figures so far are stored, but no longer than FLUSH_SECONDS, and only once for sinks that are stuck."""
        if self._late is not None and not self._late.is_set():
            return
        done = threading.Event()
        self._waiting.put(done)
        self._late = None if done.wait(FLUSH_SECONDS) else done
        if self._late is not None:
            logger.warning("the sinks for figures are stuck: training goes on without waiting for them")

    def _work(self) -> None:
        sink: TimedSink | None = None
        while (given := self._waiting.get()) is not None:
            if isinstance(given, threading.Event):
                given.set()
                continue
            sink = sink if sink is not None else self._opener()
            sink.log(*given)
