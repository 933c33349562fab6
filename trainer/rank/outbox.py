"""What one rank says: changes of the record to the driver, warnings also to the log and, in the end, to the report.

Test: tests/trainer/rank/test_outbox.py.
"""

import logging
from collections.abc import Iterable
from typing import Unpack

from finetune.api.record import WARNINGS_MAX
from trainer.reporting.messages import RecordUpdate, Sender

logger = logging.getLogger(__name__)


class Outbox:
    """A sender that keeps the run's warnings. `findings` are those about the data, which were known before."""

    def __init__(self, sender: Sender, findings: Iterable[str] = ()) -> None:
        self._sender = sender
        self.warnings = list(findings)

    def send(self, **changes: Unpack[RecordUpdate]) -> None:
        """Send changed fields of the record."""
        self._sender.send(**changes)

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        """Return whether the run is to stop, as far as is known within `wait_seconds`."""
        return self._sender.stop_requested(wait_seconds)

    def warn(self, text: str) -> None:
        """Put a warning into log, report and record, before those about the data, of which there may be many."""
        logger.warning("%s", text)
        self.warnings.insert(0, text)
        self.send(warnings=self.warnings[:WARNINGS_MAX])
