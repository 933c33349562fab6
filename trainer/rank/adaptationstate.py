"""What a run knows of plain texts so far: the base model's figures, the curve over validations, and whether the budget holds.

Part of the ledger, and so of every checkpoint. Pure. Test: tests/trainer/rank/test_adaptationstate.py.
"""

import math
from collections.abc import Mapping
from typing import Any

from finetune.api.metrics import MetricName
from finetune.api.record import AdaptationFigures
from trainer.evaluation.drift import LIKELIHOODS, increase_percent, likelihood_of
from trainer.evaluation.measurement import Measurement

GENERAL, DOMAIN = "general", "domain"
Curve = list[tuple[int, float]]


class AdaptationState:
    """The figures of plain texts; nothing of a job without them."""

    def __init__(self) -> None:
        self.active = False
        """Whether the job adapts to a domain."""
        self.follows_validation = False
        """Whether the domain's curve is of the validation rows, because there are no other texts of the domain."""
        self.budget_percent: float | None = None
        """Of the job, which a checkpoint need not say."""
        self.guesses = False
        """Whether the base model guesses, so that nothing is said of the distance to it. Of the job, too."""
        self.base: dict[str, Measurement] = {}
        """Of the base model on all texts, by side; measured before or after training."""
        self.reference: float | None = None
        """The base model's figure of the general texts that a validation measures."""
        self.curves: dict[str, Curve] = {GENERAL: [], DOMAIN: []}
        """Steps and figures: of general texts, and of the domain's texts or validation rows."""
        self.owed = False
        """A stop interrupted the measurement at the current step; the next attempt runs it first."""

    def note(self, side: str, step: int, value: float) -> None:
        """Add a point to a curve, in place of one at the same step."""
        self.curves[side] = [point for point in self.curves[side] if point[0] != step] + [(step, value)]

    def validated(self, step: int, figures: Mapping[MetricName, float]) -> None:
        """Take how likely validation rows are, if they are texts of the domain and there are no others."""
        if self.follows_validation and not LIKELIHOODS.isdisjoint(figures):
            self.note(DOMAIN, step, likelihood_of(figures))

    @property
    def limit(self) -> float | None:
        """The largest figure within the budget; None without a budget, and before the base model was measured."""
        if self.budget_percent is None or self.reference is None:
            return None
        return self.reference * (1 + self.budget_percent / 100)

    def within(self, step: int) -> bool | None:
        """Return whether the weights of a step are within the budget; None where that is not known, or there is none."""
        limit, value = self.limit, dict(self.curves[GENERAL]).get(step)
        # Not a number, it is not within.
        return None if limit is None or value is None else value <= limit

    @property
    def exceeded_at(self) -> int | None:
        """The first step that was measured beyond the budget."""
        return next((step for step, _ in self.curves[GENERAL] if self.within(step) is False), None)

    def figures(self, word: str, step: int) -> AdaptationFigures | None:
        """Return the newest figures for the progress record; `word` says what is measured."""
        value = dict(self.curves[GENERAL]).get(step)
        if value is None or self.reference is None:
            return None
        return AdaptationFigures.of(word, value, self.increase(self.reference, value), self.within(step))

    def increase(self, base: float, value: float) -> float:
        """Return by how many percent a figure is above the base model's; nan where that one guesses."""
        return math.nan if self.guesses else increase_percent(base, value)

    def to_state(self) -> dict[str, Any]:
        """Return the JSON that a checkpoint stores; nan and infinity are null."""
        curves = {side: [[step, value if math.isfinite(value) else None] for step, value in curve] for side, curve in self.curves.items()}
        base = {side: found.to_state() for side, found in self.base.items()}
        return {"base": base, "reference": self.reference, "curves": curves, "owed": self.owed}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "AdaptationState":
        """Return the state that `to_state` saved."""
        found = cls()
        found.base = {side: Measurement.from_state(measured) for side, measured in state["base"].items()}
        found.reference = state["reference"]
        found.curves = {
            side: [(int(step), math.inf if value is None else float(value)) for step, value in curve]
            for side, curve in state["curves"].items()
        }
        found.owed = bool(state["owed"])
        return found
