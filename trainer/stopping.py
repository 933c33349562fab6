"""What SIGTERM means at each moment of a run: the end at once while nothing is lost by it, else a wish passed to the workers.

Test: tests/trainer/test_stopping.py.
"""

import os
import signal
from typing import Any

from trainer.config.record import Stage


class InterruptedRunError(BaseException):
    """SIGTERM came; what was trained is in a checkpoint, if training had begun.

    Not an Exception: it comes at any moment, also inside libraries that take every Exception for a fault of their input.
    """


class StopRequest:
    """The driver's answer to SIGTERM. While the workers train, they are to write a checkpoint first, and `wanted` says so."""

    def __init__(self) -> None:
        self.wanted = False
        self._training = False

    def install(self) -> None:
        """Answer SIGTERM from now on; to be called again after a library has put its own handler there."""
        signal.signal(signal.SIGTERM, self._handle)

    def disregard(self) -> None:
        """Let SIGTERM pass without effect: nothing is left to stop, and the last record must get through."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def note(self, stage: Stage) -> None:
        """Take notice of what the workers do now; called from any thread."""
        came_too_late = self.wanted and self._training and stage is not Stage.TRAINING
        self._training = stage is Stage.TRAINING
        if came_too_late:
            # Training ended before it saw the wish. The last step has its checkpoint, so the end may come at once.
            os.kill(os.getpid(), signal.SIGTERM)

    def _handle(self, _number: int, _frame: Any) -> None:
        self.wanted = True
        if not self._training:
            raise InterruptedRunError("stopped on request while no step was being trained; no work is lost")
