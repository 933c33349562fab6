"""Times the stages of a run, for the report: of the driver, then of rank 0, which takes over what the driver has timed.

Test: tests/trainer/reporting/test_stageclock.py.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

from finetune.api.timings import StageTiming, TimedStage, Timings


class StageClock:
    """Times stages that follow each other in one thread, stages within them, and stages beside them in other threads.

    A stage that begins again adds to what it has. Can be pickled.
    """

    def __init__(self, process: str, started: float, *, wall: Callable[[], float] = time.time,
                 cpu: Callable[[], float] = time.process_time) -> None:  # fmt: skip
        """Begin with the stage `start` at `started`, in seconds since the epoch."""
        self._process, self._started, self._wall, self._cpu = process, started, wall, cpu
        self._done: list[StageTiming] = []
        self._beside: list[StageTiming] = []
        self._stage = TimedStage.START
        self._since, self._cpu_since = started, 0.0
        self._again = False
        """The present stage goes on after one within it."""
        self.tell: Callable[[TimedStage], object] | None = None
        """Is told of each stage that begins; not passed on to another clock."""

    def begin(self, stage: TimedStage) -> None:
        """End the present stage and begin another; nothing happens if it is the present one."""
        if stage is self._stage:
            return
        self._done = self._with_present()
        self._stage, self._since, self._cpu_since, self._again = stage, self._wall(), self._cpu(), False
        if self.tell is not None:
            self.tell(stage)

    @contextlib.contextmanager
    def within(self, stage: TimedStage) -> Iterator[None]:
        """Interrupt the present stage by another one."""
        outer = self._stage
        self.begin(stage)
        try:
            yield
        finally:
            self.begin(outer)
            self._again = True

    @contextlib.contextmanager
    def beside(self, stage: TimedStage) -> Iterator[None]:
        """Time what this thread does beside the stages of the program; whose processor time it takes is not known."""
        since = self._wall()
        try:
            yield
        finally:
            self._add_beside(stage, since - self._started, self._passed(since))

    def passed_on(self, process: str, *, cpu_used: float = 0.0) -> "StageClock":
        """Return the clock of the program that goes on with the present stage. `cpu_used`: seconds of its processor time until then."""
        clock = StageClock(process, self._started, wall=self._wall, cpu=self._cpu)
        clock._done, clock._beside, clock._stage = list(self._done), list(self._beside), self._stage
        clock._since, clock._cpu_since = self._since, cpu_used
        return clock

    def passed_on_here(self, process: str) -> "StageClock":
        """Return the clock of another side in this same program, which goes on with the present stage."""
        return self.passed_on(process, cpu_used=self._cpu_since)

    def timings(self) -> Timings:
        """Return all stages up to now, in the order in which they began."""
        stages = sorted([*self._with_present(), *self._beside], key=lambda timing: timing.start_seconds)
        return Timings(seconds=self._passed(self._started), stages=stages)

    def _add_beside(self, stage: TimedStage, start: float, seconds: float) -> None:
        """Note a stage beside the others; one thread at a time has the same stage."""
        before = next((one for one in self._beside if (one.stage, one.process) == (stage, self._process)), None)
        if before is None:
            self._beside.append(StageTiming(stage=stage, process=self._process, start_seconds=start, seconds=seconds, beside=True))
            return
        more = before.model_copy(update={"seconds": before.seconds + seconds, "times": before.times + 1})
        self._beside[self._beside.index(before)] = more

    def _passed(self, since: float) -> float:
        return max(0.0, self._wall() - since)  # the clock may have been set back

    def _with_present(self) -> list[StageTiming]:
        """Return the stages that have ended, and what the present one took until now."""
        seconds, cpu = self._passed(self._since), max(0.0, self._cpu() - self._cpu_since)
        before = next((one for one in self._done if (one.stage, one.process) == (self._stage, self._process)), None)
        if before is None:
            start = self._since - self._started
            present = StageTiming(stage=self._stage, process=self._process, start_seconds=start, seconds=seconds, cpu_seconds=cpu)
        else:
            more = {"seconds": before.seconds + seconds, "cpu_seconds": (before.cpu_seconds or 0.0) + cpu}
            present = before.model_copy(update=more | {"times": before.times + (0 if self._again else 1)})
        return [*(one for one in self._done if one is not before), present]
