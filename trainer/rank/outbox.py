"""What one rank reports: record changes to the driver, and warnings, which also go to the log and the final report.

Test: tests/trainer/rank/test_outbox.py.
"""

import logging
from collections.abc import Iterable
from typing import Unpack

from finetune.api.record import WARNINGS_MAX
from trainer.reporting.messages import RecordUpdate, Sender

logger = logging.getLogger(__name__)


class Outbox:
    """A sender that keeps the run's warnings. `findings` are the earlier ones about the data."""

    def __init__(self, sender: Sender, findings: Iterable[str] = ()) -> None:
        self._sender = sender
        self.warnings = list(findings)

    def send(self, **changes: Unpack[RecordUpdate]) -> None:
        """Send changed fields of the record to the driver."""
        self._sender.send(**changes)

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        """Return whether the driver is known, within `wait_seconds`, to want the run to stop."""
        return self._sender.stop_requested(wait_seconds)

    def warn(self, text: str) -> None:
        """Add a warning to log, report and record, ahead of those about the data, which may be many."""
        logger.warning("%s", text)
        self.warnings.insert(0, text)
        self.send(warnings=self.warnings[:WARNINGS_MAX])
