"""The driver's request to stop, seen by all ranks at the same moment. Test: tests/trainer/rank/test_hooks.py."""

from trainer.engine.base import Engine
from trainer.reporting.messages import Sender
from trainer.training.loop import Progress, StepResult, StopReason

ANSWER_SECONDS = 0.2
"""How long the answer to this step's message is waited for: it takes a millisecond, and without it a stop costs a step more."""


class MeasurementStoppedError(Exception):
    """The run is to stop in the middle of a validation; raised on all ranks at the same batch."""


class StopOnRequest:
    """Ends training after the present step when the driver wants it; all ranks decide as rank 0 does."""

    def __init__(self, engine: Engine, sender: Sender) -> None:
        self._engine, self._sender = engine, sender

    def after_step(self, progress: Progress, result: StepResult) -> None:
        """Set the stop reason."""
        if self._requested(ANSWER_SECONDS) and not progress.finished:
            progress.stop_reason = StopReason.INTERRUPTED

    def between_batches(self) -> None:
        """Raise MeasurementStoppedError on all ranks when the driver wants the run to stop."""
        self._sender.send()  # the answer says whether to stop
        if self._requested(0.0):
            raise MeasurementStoppedError

    def _requested(self, wait_seconds: float) -> bool:
        return self._engine.sums_over_ranks([float(self._sender.stop_requested(wait_seconds))])[0] > 0
