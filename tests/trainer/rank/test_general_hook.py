"""Plain texts are measured at validations; beyond the budget training ends, and a stop at that moment does not lose it."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from finetune.api.metrics import MetricName
from trainer.evaluation.validation import ValidationResult
from trainer.rank.adaptationstate import GENERAL
from trainer.rank.hooks.general import MeasureTexts
from trainer.rank.hooks.order import Hooks
from trainer.rank.hooks.stop import MeasurementStoppedError
from trainer.rank.hooks.validation import Validate
from trainer.rank.ledger import Ledger
from trainer.training.loop import Progress, StopReason


class Seen:
    """Takes what is logged, sent and warned of."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.warnings: list[str] = []

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.logged.append((step, dict(figures)))

    def warn(self, warning: str) -> None:
        self.warnings.append(warning)

    def send(self, **_: Any) -> None:
        pass

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        return False


def ledger(budget: float | None = 10.0) -> Ledger:
    found = Ledger()
    found.adaptation.active, found.adaptation.budget_percent, found.adaptation.reference = True, budget, 20.0
    return found


def measuring(known: Ledger, values: Mapping[int, float | None]) -> Callable[[int], Mapping[str, float]]:
    """Return what measures these values at steps; None is a stop."""

    def measure(step: int) -> Mapping[str, float]:
        value = values[step]
        if value is None:
            raise MeasurementStoppedError
        known.adaptation.note(GENERAL, step, value)
        return {"general/perplexity": value}

    return measure


def hook(known: Ledger, values: Mapping[int, float | None], seen: Seen | None = None) -> MeasureTexts:
    seen = seen or Seen()
    return MeasureTexts(measuring(known, values), 10, known, seen, cast(Any, seen))


def at(step: int) -> Progress:
    return Progress(total_steps=25, steps_per_epoch=10, step=step)


def test_texts_are_measured_at_the_interval_and_at_the_last_step() -> None:
    known, seen = ledger(), Seen()
    texts = hook(known, {10: 20.5, 20: 21.0, 25: 21.5}, seen)
    for step in range(1, 26):
        texts.after_step(at(step))
    assert seen.logged == [(10, {"general/perplexity": 20.5}), (20, {"general/perplexity": 21.0}), (25, {"general/perplexity": 21.5})]
    assert seen.warnings == []


@pytest.mark.parametrize(("budget", "reason"), [(10.0, StopReason.BUDGET), (None, None)])
def test_training_ends_beyond_the_budget_if_there_is_one(budget: float | None, reason: StopReason | None) -> None:
    known, seen, progress = ledger(budget), Seen(), at(10)
    hook(known, {10: 22.5}, seen).after_step(progress)
    assert progress.stop_reason is reason
    assert seen.warnings == ["general perplexity exceeded the budget of 10 % at step 10; training stopped"] * (reason is not None)


def test_beyond_the_budget_at_the_last_step_nothing_was_stopped() -> None:
    known, seen = ledger(), Seen()
    hook(known, {25: 22.5}, seen).after_step(at(25))
    assert seen.warnings == ["general perplexity exceeded the budget of 10 % at step 25"]


def validation(known: Ledger, values: list[float | None]) -> Validate:
    def evaluate() -> ValidationResult:
        value = values.pop(0)
        if value is None:
            raise MeasurementStoppedError
        return ValidationResult({MetricName.PERPLEXITY: value}, MetricName.PERPLEXITY, MetricName.PERPLEXITY)

    return Validate(evaluate, 10, None, known, Seen(), Seen(), remedies=())


def test_weights_beyond_the_budget_are_never_the_best_however_good_they_are() -> None:
    known = ledger()
    texts, validated = hook(known, {10: 21.0, 20: 23.0}), validation(known, [9.0, 5.0])
    for step in (10, 20):
        progress = at(step)
        for one in (texts, validated):
            one.after_step(progress)
    assert known.metrics.best is not None
    assert known.metrics.validated is not None
    assert (known.metrics.best.step, known.metrics.validated.step) == (10, 20)


def hooks(known: Ledger, texts: MeasureTexts, validated: Validate, saved: list[StopReason | None]) -> Hooks:
    checkpoints = SimpleNamespace(save=lambda progress: saved.append(progress.stop_reason))
    return Hooks(None, validated, cast(Any, None), cast(Any, checkpoints), texts)


def test_a_stop_in_the_middle_is_made_up_by_the_next_attempt() -> None:
    known, progress, saved = ledger(), at(10), list[StopReason | None]()
    hook(known, {10: None}).after_step(progress)
    assert (progress.stop_reason, known.adaptation.owed) == (StopReason.INTERRUPTED, True)
    again, resumed = Ledger.from_state(known.to_state()), at(10)
    again.adaptation.budget_percent = 10.0
    hooks(again, hook(again, {10: 22.5}), validation(again, []), saved).make_up(again, resumed)
    assert (resumed.stop_reason, again.adaptation.owed, saved) == (StopReason.BUDGET, False, [StopReason.BUDGET])


def test_a_stop_during_the_validation_after_it_does_not_forget_the_budget() -> None:
    known, progress, saved = ledger(), at(10), list[StopReason | None]()
    hook(known, {10: 22.5}).after_step(progress)
    validation(known, [None]).after_step(progress)
    assert progress.stop_reason is StopReason.INTERRUPTED  # the checkpoint says that steps are left
    again, resumed = Ledger.from_state(known.to_state()), at(10)
    again.adaptation.budget_percent = 10.0
    hooks(again, hook(again, {}), validation(again, [9.0]), saved).make_up(again, resumed)
    assert (resumed.stop_reason, saved) == (StopReason.BUDGET, [StopReason.BUDGET])
    assert again.metrics.best is None


def test_a_run_that_owes_nothing_makes_nothing_up() -> None:
    known, progress, saved = ledger(), at(10), list[StopReason | None]()
    known.adaptation.note(GENERAL, 10, 21.0)
    hooks(known, hook(known, {}), validation(known, []), saved).make_up(known, progress)
    assert (progress.stop_reason, saved) == (None, [])
