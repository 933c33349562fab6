"""What one rank reports: record changes to the driver, and warnings, which also go to the log and the final report.

Test: tests/trainer/rank/test_outbox.py.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Unpack

from finetune.api.record import WARNINGS_MAX
from trainer.reporting.messages import RecordUpdate, Sender

PULSE_SECONDS = 60.0
logger = logging.getLogger(__name__)


class Outbox:
    """A sender that keeps the run's warnings. `findings` are the earlier ones about the data."""

    def __init__(self, sender: Sender, findings: Iterable[str] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._sender, self._clock = sender, clock
        self._pulse, self._felt = 0, clock()
        self.warnings = list(findings)

    def send(self, **changes: Unpack[RecordUpdate]) -> None:
        """Send changed fields of the record to the driver."""
        self._sender.send(**changes)

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        """Return whether the driver is known, within `wait_seconds`, to want the run to stop."""
        self.gets_on()
        return self._sender.stop_requested(wait_seconds)

    def gets_on(self) -> None:
        """Give a sign of life, at most once a minute. Call it wherever work that reports nothing has got on, such as after a batch.

        The controller takes silence for a stall. A sign from another thread would say nothing of this one, which may wait forever.
        """
        now = self._clock()
        if now - self._felt >= PULSE_SECONDS:
            self._pulse, self._felt = self._pulse + 1, now
            self._sender.send(pulse=self._pulse)

    def warn(self, text: str) -> None:
        """Add a warning to log, report and record, ahead of those about the data, which may be many."""
        logger.warning("%s", text)
        self.warnings.insert(0, text)
        self.send(warnings=self.warnings[:WARNINGS_MAX])
