"""What a signal means at each moment of a run: the end at once while nothing is lost by it, else a wish passed to the workers.

The run itself works in a thread, so that the main thread, which alone receives signals, is always free for them. A handler
that raises would not do: `ray.get` swallows what it raises, and libraries take it for a fault of their input.
Test: tests/trainer/driver/test_stopping.py.
"""

import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from finetune.api.record import Stage

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TURN_SECONDS = 0.1
T = TypeVar("T")


class InterruptedRunError(BaseException):
    """The run was stopped on request; what was trained is in a checkpoint, if training had begun.

    Not an Exception, so that nothing takes it for a fault of the run.
    """

    reason = "Interrupted"


class StopRequest:
    """The driver's answer to SIGTERM, Ctrl-C and a closed terminal.

    While the workers train, they are to write a checkpoint first, and `wanted` says so. At every other moment, and at the
    second signal, the run is over at once: its checkpoints are published whole, so a process may go at any time.
    """

    def __init__(self) -> None:
        self._signals = 0
        self._training = False
        # Those that whoever started the program wants ignored (nohup) stay so.
        self._numbers = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]

    @property
    def wanted(self) -> bool:
        """Tell whether somebody asked the run to stop."""
        return self._signals > 0

    @property
    def due(self) -> bool:
        """Tell whether the run is to end now, without another word with its workers."""
        return self._signals > 1 or (self._signals == 1 and not self._training)

    def install(self) -> None:
        """Answer signals from now on."""
        for number in self._numbers:
            signal.signal(number, self._handle)

    def disregard(self) -> None:
        """Let signals pass without effect: nothing is left to stop, and the last record must get through."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def note(self, stage: Stage) -> None:
        """Take notice of what the workers do now; called from any thread."""
        self._training = stage is Stage.TRAINING

    def oversee(self, work: Callable[[], T]) -> T | None:
        """Do `work` in a thread and return its result; None as soon as the run is to end at once, with the work unfinished.

        The thread is never joined: what it started with the wish to die with it, as Ray's processes, lives as long as the
        program does.
        """
        results: list[T] = []
        faults: list[BaseException] = []
        ended = threading.Event()

        def target() -> None:
            try:
                results.append(work())
            except BaseException as fault:  # handed to the main thread, whoever is to handle it
                faults.append(fault)
            ended.set()
            threading.Event().wait()

        threading.Thread(target=target, name="run", daemon=True).start()
        # A handler may run in the middle of this wait, so it sets no event: events hold a lock while they are waited for.
        while not ended.wait(TURN_SECONDS):
            self.install()  # Ray puts a handler of its own there, below Python, that aborts the program
            if self.due:
                return None
        if faults:
            raise faults[0]
        return results[0]

    def _handle(self, _number: int, _frame: Any) -> None:
        self._signals += 1
