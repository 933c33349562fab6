"""What a signal means at each moment of a run: an immediate end while nothing is lost by it, else a request to the workers.

The run works in a thread of its own, so that the main thread, which alone receives signals, is always free for them. A handler
must not raise: `ray.get` swallows the exception, and libraries take it for bad input.
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
    """The driver's answer to SIGTERM, Ctrl-C, a closed terminal and a suspended job.

    While the workers train, they are to write a checkpoint first, and `wanted` says so. At every other moment, and at the
    second signal, the run is over at once: its checkpoints are published whole, so a process may go at any time.
    """

    def __init__(self) -> None:
        self._signals, self._asked = 0, False
        self._training = False
        # A signal that is ignored already (nohup) stays ignored.
        self._numbers = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._given_up = False

    @property
    def wanted(self) -> bool:
        """Whether a stop was requested."""
        return self._asked or self._signals > 0

    @property
    def due(self) -> bool:
        """Whether the run has to end now, without waiting for its workers."""
        return self._signals > 1 or (self.wanted and not self._training)

    def ask(self) -> None:
        """Stop as at the first signal, from any thread; asked again, nothing more. A signal after it does not cut a checkpoint short."""
        self._asked = True

    def give_up(self) -> None:
        """End the run at once, from any thread, without asking its workers for a checkpoint: others write in its place."""
        self._given_up = True

    def install(self) -> None:
        """Answer signals from now on."""
        for number in self._numbers:
            signal.signal(number, self._handle)

    def disregard(self) -> None:
        """Ignore signals from now on: nothing is left to stop, and the last record must get through."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def note(self, stage: Stage) -> None:
        """Remember what the workers do now; called from any thread."""
        self._training = stage is Stage.TRAINING

    def oversee(self, work: Callable[[], T]) -> T | None:
        """Do `work` in a thread and return its result; None as soon as the run has to end at once, with the work unfinished.

        The thread is never joined: processes that are set to die with it, as Ray's are, live as long as the program.
        """
        results: list[T] = []
        faults: list[BaseException] = []
        ended = threading.Event()

        def target() -> None:
            try:
                results.append(work())
            except BaseException as fault:  # raised again in the main thread
                faults.append(fault)
            ended.set()
            threading.Event().wait()

        threading.Thread(target=target, name="run", daemon=True).start()
        # A handler may run in the middle of this wait, so it sets no event: events hold a lock while they are waited for.
        while not ended.wait(TURN_SECONDS):
            self.install()  # Ray puts a handler of its own there, below Python, that aborts the program
            if self.due or self._given_up:
                return None
        if faults:
            raise faults[0]
        return results[0]

    def _handle(self, _number: int, _frame: Any) -> None:
        self._signals += 1
