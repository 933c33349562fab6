"""The driver's request to stop, which all ranks see at the same step. Test: tests/trainer/rank/test_hooks.py."""

from trainer.engine.base import Engine
from trainer.reporting.messages import Sender
from trainer.training.loop import Progress, StepResult, StopReason

ANSWER_SECONDS = 0.2
"""How long to wait for the answer to this step's message: it takes a millisecond, and without it a stop takes one more step."""


class MeasurementStoppedError(Exception):
    """A stop was requested during a validation; raised on all ranks at the same batch."""


class StopOnRequest:
    """Ends training after the current step at the driver's request; rank 0 decides for all ranks."""

    def __init__(self, engine: Engine, sender: Sender) -> None:
        self._engine, self._sender = engine, sender

    def after_step(self, progress: Progress, result: StepResult) -> None:
        """Set the stop reason if a stop was requested and steps are left."""
        if self._requested(ANSWER_SECONDS) and not progress.finished:
            progress.stop_reason = StopReason.INTERRUPTED

    def between_batches(self) -> None:
        """Raise MeasurementStoppedError on all ranks if the driver asks the run to stop."""
        self._sender.send()  # its answer says whether to stop
        if self._requested(0.0):
            raise MeasurementStoppedError

    def _requested(self, wait_seconds: float) -> bool:
        return self._engine.sums_over_ranks([float(self._sender.stop_requested(wait_seconds))])[0] > 0
