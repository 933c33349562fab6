"""Measures plain texts at the interval of validation and at the last step, and ends training beyond the budget.

Runs before the validation, whose choice of the best weights depends on the budget. Does not know how texts are measured: `measure`
does that. Test: tests/trainer/rank/test_general_hook.py.
"""

from collections.abc import Callable, Mapping

from trainer.rank.hooks.stop import MeasurementStoppedError
from trainer.rank.ledger import Ledger
from trainer.rank.outbox import Outbox
from trainer.reporting.sinks import MetricsSink
from trainer.training.loop import Progress, StopReason


class MeasureTexts:
    """Runs due measurements. `measure(step)` notes figures in the ledger, on every rank; it may raise MeasurementStoppedError, on all.

    It returns the figures for the sinks by name.
    """

    def __init__(self, measure: Callable[[int], Mapping[str, float]], every_steps: int, ledger: Ledger, sinks: MetricsSink,
                 outbox: Outbox) -> None:  # fmt: skip
        self._measure, self._every, self._ledger, self._sinks, self._outbox = measure, every_steps, ledger, sinks, outbox

    def due(self, progress: Progress) -> bool:
        """Return whether the interval is over, or this was the last step."""
        return progress.step % self._every == 0 or progress.step >= progress.total_steps

    def after_step(self, progress: Progress) -> None:
        """Measure at the interval and at the last step."""
        if self.due(progress):
            self.measure(progress)

    def measure(self, progress: Progress) -> None:
        """Measure; beyond the budget training is over. A stop interrupts both, which the checkpoint records."""
        state = self._ledger.adaptation
        state.owed = True
        try:
            found = self._measure(progress.step)
        except MeasurementStoppedError:
            progress.stop_reason = StopReason.INTERRUPTED
            return
        state.owed = False
        self._sinks.log(progress.step, found)
        if state.within(progress.step) is False:
            progress.stop_reason = StopReason.BUDGET
            stopped = "; training stopped" if progress.step < progress.total_steps else ""
            self._outbox.warn(f"general perplexity exceeded the budget of {state.budget_percent:g} % at step {progress.step}{stopped}")
        self._outbox.send(metrics=self._ledger.metrics)
        progress.pause()

    def make_up(self, progress: Progress) -> bool:
        """Return whether there was something to do that a stop had kept an earlier attempt from, and do it."""
        state = self._ledger.adaptation
        if state.owed:
            self.measure(progress)
            return True
        if state.within(progress.step) is False and progress.stop_reason is None:
            progress.stop_reason = StopReason.BUDGET
            return True
        return False
