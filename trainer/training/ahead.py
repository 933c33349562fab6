"""Prepares the next step in a thread while this one is computed: rows are read, varied, tokenized and collated meanwhile.

What is prepared is a function of the step alone, so it makes no difference when. Test: tests/trainer/training/test_ahead.py.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Calls `prepare` for one step after the other, and one step ahead. A context manager, which ends the thread.

    `prepare` may be a collective of ranks, if all of them take the same steps and it has a process group of its own.
    """

    def __init__(self, prepare: Callable[[int], T], total_steps: int) -> None:
        self._prepare, self._total = prepare, total_steps
        self._asked: int | None = None
        self._steps: SimpleQueue[int | None] = SimpleQueue()
        self._prepared: SimpleQueue[T | BaseException] = SimpleQueue()
        # A daemon: where another rank has failed it waits in vain, and must not keep the program from ending.
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._steps.put(None)
        if kind is None:
            self._thread.join()

    def __call__(self, step: int) -> T:
        """Return what was prepared for a step, and begin with the next. Steps are taken in order; ValueError for another one.

        Raises what `prepare` raised for this step.
        """
        if self._asked is None:
            self._ask(step)
        if self._asked != step:
            raise ValueError(f"step {step} was asked for, step {self._asked} was prepared")
        prepared = self._prepared.get()
        if isinstance(prepared, BaseException):
            raise prepared
        if step + 1 < self._total:
            self._ask(step + 1)
        return prepared

    def _ask(self, step: int) -> None:
        self._asked = step
        self._steps.put(step)

    def _work(self) -> None:
        while (step := self._steps.get()) is not None:
            try:
                self._prepared.put(self._prepare(step))
            except BaseException as error:  # raised again where the step is taken
                self._prepared.put(error)
                return
