"""Measures plain texts of the general and the specific domain: base model, at validations, tuned model, and what lies between them.

Every rank takes part and gets the same figures; what it finds is in the ledger's adaptation state, and at last in report.json.
Test: tests/trainer/rank/test_adapting.py (one rank, no Ray), tests/trainer/rank/test_resume.py.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from finetune.api.adaptation import DomainAdaptation
from finetune.api.errors import RunError
from finetune.api.metrics import MetricName
from finetune.api.record import REASON_BUDGET, AdaptationFigures
from finetune.api.trainconfig import TrainConfig
from trainer.evaluation.drift import LIKELIHOODS, increase_percent, likelihood
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.texts import Texts
from trainer.model.lora import adapters_off
from trainer.preflight.adapting import Shift
from trainer.preflight.sides import texts_task
from trainer.rank.adaptationstate import DOMAIN, GENERAL, AdaptationState
from trainer.rank.ledger import Ledger
from trainer.rank.loading import Loaded
from trainer.rank.measuring import Measuring
from trainer.rank.outbox import Outbox
from trainer.rank.rows import order_for
from trainer.rank.sweep import positions_of
from trainer.reporting.adaptation import Adapted, Side, SweepPoint

FIELDS = {GENERAL: "domainAdaptation.generalEvaluation", DOMAIN: "domainAdaptation.domainEvaluation"}


class BudgetExceededError(RunError):
    """Every checkpoint of a run is beyond its budget for general texts, so there are no weights to hand over."""

    reason = REASON_BUDGET


class Adapting:
    """The plain texts of a job and the model that they are measured with; without such texts it does nothing."""

    def __init__(self, config: TrainConfig, measuring: Measuring) -> None:
        self._config, self._measuring = config, measuring
        self._loaded: Loaded = measuring.loaded
        self._section: DomainAdaptation | None = config.adaptation
        rows, dataset = measuring.rows, measuring.dataset
        given = ((GENERAL, dataset.general, rows.general), (DOMAIN, dataset.domain, rows.domain))
        self._sides = {side: Texts(texts_task(measuring.task), len(texts), tokens) for side, texts, tokens in given if texts}
        for side, found in self._sides.items():
            if (warning := found.warning(FIELDS[side])) is not None and warning not in measuring.outbox.warnings:
                measuring.outbox.warn(warning)
        self._state.active, self._state.guesses = self._section is not None, self._loaded.guesses
        self._state.follows_validation = self._section is not None and DOMAIN not in self._sides
        self._state.budget_percent = self._section.max_general_perplexity_increase_percent if self._section is not None else None

    @property
    def _state(self) -> AdaptationState:
        return self._ledger.adaptation

    @property
    def _ledger(self) -> Ledger:
        return self._measuring.ledger

    @property
    def measures(self) -> bool:
        """Whether there are texts to measure at validations."""
        return bool(self._sides)

    def measure_base(self) -> None:
        """Measure the base model on all texts, unless that is done: before training, or after it where adapters can be switched off."""
        with self._base():
            for side, texts in self._sides.items():
                if side not in self._state.base:
                    self._state.base[side] = self._measure(texts)
        self._refer()

    def at_step(self, step: int, between: Callable[[], None]) -> Mapping[str, float]:
        """Measure as much as a validation does; note it in the ledger, and return the figures by their names in metrics.jsonl."""
        if self._state.reference is None and GENERAL in self._sides:
            general = self._sides[GENERAL]
            with self._base():
                self._state.reference = likelihood(self._measure(general, between, only=general.sample()))
        figures: dict[str, float] = {}
        for side, texts in self._sides.items():
            found = self._measure(texts, between, only=texts.sample())
            self._state.note(side, step, likelihood(found))
            figures |= {f"{side}/{name}": value for name, value in found.values().items()}
        self._ledger.note(adaptation=self._state.figures(self._word, step))
        return figures

    def check_budget(self, step: int, within: bool | None) -> None:
        """Raise BudgetExceededError where a budget is set and the result, of `step`, is not known to be within it."""
        if self._state.budget_percent is None or within:
            return
        rise = {at: increase_percent(self._state.reference or 0.0, value) for at, value in self._state.curves[GENERAL]}
        least = min(rise, key=lambda at: rise[at], default=step)
        raise BudgetExceededError(
            f"no checkpoint is within domainAdaptation.maxGeneralPerplexityIncreasePercent {self._state.budget_percent:g}: the smallest"
            f" increase that was measured is {rise.get(least, float('nan')):.1f} %, at step {least}; lower training.learningRate, replay"
            " more (domainAdaptation.replay.share), validate more often (evaluation.everySteps), or raise the budget"
        )

    def finish(
        self, step: int, steps: int, baseline: Measurement, final: Measurement, shift: Shift | None, outbox: Outbox
    ) -> Adapted | None:
        """Measure both models on all texts, and the weights between them; return the report's part, None for a job without this section.

        The model has the weights of `step`; `steps` were trained.
        """
        if self._section is None:
            return None
        self.measure_base()
        tuned = {side: self._measure(texts) for side, texts in self._sides.items()}
        base = dict(self._state.base)
        where = dict(FIELDS)
        curve_of = {side: where[side] for side in self._sides}
        if DOMAIN not in tuned and _has_likelihood(final):
            base[DOMAIN], tuned[DOMAIN], where[DOMAIN], curve_of[DOMAIN] = baseline, final, "data.test", "data.validation"
        curves = {side: tuple(self._state.curves[side]) for side in tuned}
        sides = {side: Side(where[side], base[side], tuned[side], curves[side], curve_of[side], self._state.guesses) for side in tuned}
        within = self._finally_within(sides.get(GENERAL), step, outbox)
        return Adapted(
            word=self._word,
            sides=sides,
            budget_percent=self._state.budget_percent,
            within_budget=within,
            chosen_step=step,
            exceeded_at=self._state.exceeded_at,
            sweep=self._swept(step, sides, outbox),
            replay=self._replayed(steps),
            shift=shift.to_wire() if shift is not None else None,
        )

    def _replayed(self, steps: int) -> dict[str, Any] | None:
        rows, replay = self._measuring.rows, self._section.replay if self._section is not None else None
        if replay is None or rows.replay is None:
            return None
        drawn = order_for(self._config, rows.train, rows.replay).replayed(steps)
        return {"rows": len(self._measuring.dataset.replay), "share": replay.share, "drawn": drawn}

    def _finally_within(self, general: Side | None, step: int, outbox: Outbox) -> bool | None:
        """Return whether the result is within the budget on all general texts; validations saw only some of them."""
        if general is None:
            return None
        base, tuned = likelihood(general.base), likelihood(general.tuned)
        rise, budget = self._state.increase(base, tuned), self._state.budget_percent
        within = None if budget is None else rise <= budget
        if within is False:
            outbox.warn(
                f"general perplexity at step {step} is {rise:.2f} % above the base model on all texts, over the budget of {budget:g} %;"
                " on the validation sample it was within it"
            )
        self._ledger.note(adaptation=AdaptationFigures.of(self._word, tuned, rise, within))
        return within

    def _swept(self, step: int, sides: Mapping[str, Side], outbox: Outbox) -> list[SweepPoint]:
        """Return the figures of base, tuned model and the positions between them, in their order; none where they are not asked for."""
        wanted = self._section.sweep if self._section is not None else None
        if not wanted or GENERAL not in sides:
            return []
        ends = [
            SweepPoint(at, {side: getattr(found, model) for side, found in sides.items()}) for at, model in ((0.0, "base"), (1.0, "tuned"))
        ]
        inner = []
        for position in positions_of(self._measuring, step, sorted(set(wanted)), outbox):
            found = {side: self._measure(texts) for side, texts in self._sides.items()}
            if DOMAIN in sides and DOMAIN not in found:
                found[DOMAIN] = self._measuring.on_test_rows(self._likelihoods)
            inner.append(SweepPoint(position, found))
        return [ends[0], *inner, ends[1]] if inner else []

    @property
    def _likelihoods(self) -> tuple[MetricName, ...]:
        return next(iter(self._sides.values())).figures.names

    @property
    def _word(self) -> str:
        return next((texts.figures.word for texts in self._sides.values()), "Perplexity")

    def _refer(self) -> None:
        """Take the base model's figure of the texts that validations measure from that of all of them."""
        if self._state.reference is None and GENERAL in self._state.base:
            general = self._sides[GENERAL]
            self._state.reference = likelihood(general.part(self._state.base[GENERAL], general.sample()))

    def _base(self) -> Any:
        return adapters_off(self._loaded.engine.model) if self._measuring.base_outlives_training else nullcontext()

    def _measure(self, texts: Texts, between: Callable[[], None] | None = None, only: Any = None) -> Measurement:
        between = between or self._measuring.outbox.gets_on
        return texts.measure(self._loaded.engine, self._loaded.forward, self._measuring.at_once, between, only)


def _has_likelihood(found: Measurement) -> bool:
    return not LIKELIHOODS.isdisjoint(found.values())
