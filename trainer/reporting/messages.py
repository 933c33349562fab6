"""What a rank sends to the driver while it runs: typed changes of the progress record, so that a misspelled field is a type error.

Test: tests/trainer/reporting/test_messages.py.
"""

from typing import Protocol, TypedDict, Unpack

from finetune.api.earlierjobs import ContinuedFrom
from finetune.api.record import CheckpointRecord, Metrics, ModelProvenance, Outcome, OutputRecord, Stage, TrainingProgress


class RecordUpdate(TypedDict, total=False):
    """Changed fields of a ProgressRecord, by its own names and types. Absent fields stay unchanged."""

    stage: Stage
    resumed_from_step: int
    continued_from: ContinuedFrom
    progress: TrainingProgress
    metrics: Metrics
    checkpoints: list[CheckpointRecord]
    model: ModelProvenance | None
    output: OutputRecord
    warnings: list[str]
    outcome: Outcome
    pulse: int
    """A sign of life between two changes, a number that rises. No part of the record: that one more arrives says it."""


class Sender(Protocol):
    """A rank's channel to the driver."""

    def send(self, **changes: Unpack[RecordUpdate]) -> None:
        """Send changed fields of the record; must not fail or block training."""

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        """Return whether the driver is known, within `wait_seconds`, to want the run to stop."""


class Silent:
    """The sender of ranks other than 0, which report nothing."""

    def send(self, **changes: Unpack[RecordUpdate]) -> None:
        """Drop the changes: rank 0 sends the same."""

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        """Return False: rank 0 decides for all."""
        return False
