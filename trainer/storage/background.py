"""Writes one checkpoint at a time in a thread, while training goes on. Test: tests/trainer/storage/test_background.py."""

import threading
from collections.abc import Callable


class Background:
    """A thread for each job, and one job at a time."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def begin(self, job: Callable[[], object]) -> None:
        """Start a job. The one before must have been seen to end (`ended`), else RuntimeError."""
        if self._thread is not None:
            raise RuntimeError("a job is still under way, or nobody has asked how it ended")

        def work() -> None:
            try:
                job()
            except BaseException as error:  # raised again in the thread that asks
                self._error = error

        # A daemon: where another rank is lost it may wait in vain, and must not keep the program from ending.
        self._thread = threading.Thread(target=work, name="checkpoint", daemon=True)
        self._thread.start()

    def ended(self, wait_seconds: float | None = 0.0) -> bool:
        """Return whether a job has ended, once for each; raises what it raised. With None it is waited for to its end."""
        if self._thread is None:
            return False
        self._thread.join(wait_seconds)
        if self._thread.is_alive():
            return False
        error, self._thread, self._error = self._error, None, None
        if error is not None:
            raise error
        return True
