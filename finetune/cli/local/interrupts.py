"""Ctrl-C, SIGTERM and a closed terminal: the first stops the command cleanly, whatever it is doing; a second one stops it at once.

Tests: tests/finetune/cli/local/test_interrupts.py, test_run.py, tests/finetune/cli/test_interruption.py.
"""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any, Protocol

from finetune.cli.local.screen import Screen


class Stoppable(Protocol):
    """A running trainer."""

    def terminate(self) -> None:
        """Ask it to stop cleanly."""

    def kill(self) -> None:
        """Stop it at once."""


class Interrupts:
    """Raises KeyboardInterrupt for a signal as long as there is no trainer; passes it on to the trainer while there is one.

    The handlers write nothing to the screen, because they may come in the middle of such a write.
    """

    def __init__(self) -> None:
        self.received = 0
        self._reported = 0
        self._held = False
        self._only_hung_up = False
        self._process: Stoppable | None = None

    def __enter__(self) -> "Interrupts":
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup wants the run to outlive the terminal
            numbers.append(signal.SIGHUP)
        self._before = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep signals back while the trainer is being started, so that none falls between its start and `pass_to`."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def pass_to(self, process: Stoppable) -> None:
        """Pass signals on to the trainer from now on, and one that was kept back at once; to be called while they are held."""
        self._process = process
        if self.received:
            process.terminate()

    def report(self, screen: Screen) -> None:
        """Say on the screen what was passed on since the last call."""
        if self.received > self._reported:
            first = "stopping; during training a checkpoint is written first (interrupt again to stop at once, without one)"
            screen.say(first if self.received == 1 else "stopping at once")
            self._reported = self.received

    def _handle(self, number: int, _frame: Any) -> None:
        # A logout sends SIGTERM and SIGHUP together, and Python handles pending signals by number: nobody is impatient.
        one_logout = number == signal.SIGHUP or (number == signal.SIGTERM and self._only_hung_up)
        self._only_hung_up = number == signal.SIGHUP and (self._only_hung_up or not self.received)
        if self.received and one_logout:
            return
        self.received += 1
        if self._process is None:
            if not self._held:
                raise KeyboardInterrupt
        elif self.received == 1:
            self._process.terminate()
        else:
            self._process.kill()
