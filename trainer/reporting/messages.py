"""What a rank sends to the driver while it runs: typed changes of the progress record, so that a misspelt field is a type error.

Test: tests/trainer/reporting/test_messages.py.
"""

from typing import Protocol, TypedDict, Unpack

from finetune.api.record import CheckpointRecord, Metrics, ModelProvenance, Outcome, OutputRecord, Stage, TrainingProgress


class RecordUpdate(TypedDict, total=False):
    """Changed fields of a ProgressRecord, by its own names and types. What is absent stays as it was."""

    stage: Stage
    resumed_from_step: int
    progress: TrainingProgress
    metrics: Metrics
    checkpoints: list[CheckpointRecord]
    model: ModelProvenance | None
    output: OutputRecord
    warnings: list[str]
    outcome: Outcome


class Sender(Protocol):
    """A rank's way to the driver."""

    def send(self, **changes: Unpack[RecordUpdate]) -> None:
        """Send changed fields of the record."""

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        """Return whether the run is to stop, as far as is known within `wait_seconds`."""


class Silent:
    """The sender of ranks other than 0."""

    def send(self, **changes: Unpack[RecordUpdate]) -> None:
        """Send nothing."""

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        """Leave the decision to rank 0."""
        return False
