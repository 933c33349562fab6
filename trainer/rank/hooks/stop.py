"""The driver's request to stop, which all ranks see at the same step. Test: tests/trainer/rank/test_hooks.py."""

from trainer.engine.base import Engine
from trainer.reporting.messages import Sender
from trainer.training.loop import Progress, StopReason

ANSWER_SECONDS = 0.2
"""How long to wait for the driver's answer: it takes a millisecond, and without it a stop takes one more step."""


class MeasurementStoppedError(Exception):
    """A stop was requested during a validation; raised on all ranks at the same batch."""


class StopOnRequest:
    """Ends training after the current step at the driver's request, which rank 0 hears of.

    The loop carries the request to the other ranks with the figures of the step; what takes long besides asks again.
    """

    def __init__(self, engine: Engine, sender: Sender) -> None:
        self._engine, self._sender = engine, sender

    def asked(self) -> bool:
        """Return whether the driver has asked this rank to stop, which it does only with rank 0."""
        self._sender.send()  # its answer says whether to stop
        return self._sender.stop_requested(ANSWER_SECONDS)

    def due(self, progress: Progress) -> bool:
        """Return False: the loop asks at every step."""
        return False

    def after_step(self, progress: Progress) -> None:
        """Set the stop reason if a stop was requested during a validation, after its last batch began, and steps are left."""
        if not progress.finished and self._requested(ANSWER_SECONDS):
            progress.stop_reason = StopReason.INTERRUPTED

    def between_batches(self) -> None:
        """Raise MeasurementStoppedError on all ranks if the driver asks the run to stop."""
        self._sender.send()  # its answer says whether to stop
        if self._requested(0.0):
            raise MeasurementStoppedError

    def _requested(self, wait_seconds: float) -> bool:
        return self._engine.sums_over_ranks([float(self._sender.stop_requested(wait_seconds))])[0] > 0
