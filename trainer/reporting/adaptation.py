"""What report.json says of domain adaptation: what was gained on the domain's texts, what was lost on general ones, and between.

Pure. Test: tests/trainer/reporting/test_adaptation.py.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.api.metrics import MetricName
from finetune.api.record import AdaptationFigures
from trainer.evaluation.bootstrap import Interval
from trainer.evaluation.comparison import compare
from trainer.evaluation.drift import exp_of, increase_interval, increase_percent, likelihood
from trainer.evaluation.measurement import Measurement

RISE = "generalIncreasePercent"


@dataclass(frozen=True)
class Side:
    """Texts of a domain, as both models find them."""

    texts: str
    """The field that names them."""
    base: Measurement
    tuned: Measurement
    curve: Sequence[tuple[int, float]] = ()
    curve_texts: str = ""
    """The field that names what the curve was measured on."""
    guessed: bool = False
    """Whether the base model guesses, because its head is new: then its figures say nothing of what is learned or forgotten."""


@dataclass(frozen=True)
class SweepPoint:
    """Figures of weights between base (0) and tuned (1), by side."""

    position: float
    figures: Mapping[str, Measurement]


@dataclass(frozen=True)
class Adapted:
    """The result of domain adaptation."""

    word: str
    """Perplexity, or PseudoPerplexity of an encoder."""
    sides: Mapping[str, Side]
    """By `general` and `domain`."""
    budget_percent: float | None = None
    within_budget: bool | None = None
    chosen_step: int = 0
    exceeded_at: int | None = None
    sweep: Sequence[SweepPoint] = ()
    replay: Mapping[str, Any] | None = None
    shift: Mapping[str, Any] | None = None
    """Of the texts, as `finetune check` finds it."""

    def to_wire(self) -> dict[str, Any]:
        """Return it as in report.json."""
        found: dict[str, Any] = {f"{name}{self.word}": _side(side) for name, side in self.sides.items()}
        general = self.sides.get("general")
        if general is not None:
            rise = increase_percent(likelihood(general.base), likelihood(general.tuned))
            found[RISE] = None if general.guessed else finite(rise)
            found["generalIncreaseInterval"] = None if general.guessed else _interval(increase_interval(general.base, general.tuned))
        shift = dict(self.shift) if self.shift is not None else {}
        bits = {
            name: side.base.values()[MetricName.BITS_PER_BYTE]
            for name, side in self.sides.items()
            if MetricName.BITS_PER_BYTE in side.base.values()
        }
        if bits:
            shift["baseBitsPerByte"] = bits
        return found | {
            "budgetPercent": self.budget_percent,
            "withinBudget": self.within_budget,
            "chosenStep": self.chosen_step,
            "exceededAtStep": self.exceeded_at,
            "shift": shift or None,
            "sweep": [self._point(point) for point in self.sweep],
            "replay": dict(self.replay) if self.replay is not None else None,
        }

    def _point(self, point: SweepPoint) -> dict[str, Any]:
        figures = {f"{name}{self.word}": finite(likelihood(found)) for name, found in point.figures.items()}
        general = self.sides["general"]
        rise = increase_percent(likelihood(general.base), likelihood(point.figures["general"]))
        within = None if self.budget_percent is None else rise <= self.budget_percent
        return {"position": point.position, **figures, RISE: None if general.guessed else finite(rise), "withinBudget": within}


def adaptation_figures(written: Mapping[str, Any] | None) -> AdaptationFigures | None:
    """Return a report's part as the progress record has it; None of a report without general texts."""
    words = [word for word in ("Perplexity", "PseudoPerplexity") if f"general{word}" in (written or {})]
    if written is None or not words:
        return None
    value, rise = (math.nan if found is None else float(found) for found in (written[f"general{words[0]}"]["after"], written[RISE]))
    return AdaptationFigures.of(words[0], value, rise, written["withinBudget"])


def _side(side: Side) -> dict[str, Any]:
    compared = compare(side.base, side.tuned)
    name = MetricName.PERPLEXITY if MetricName.PERPLEXITY in side.tuned.figures else MetricName.MASKED_LOSS
    change, bits = compared.difference.get(name), MetricName.BITS_PER_BYTE
    wire: dict[str, Any] = {
        "texts": side.texts,
        "rows": side.tuned.figures[name].rows,
        "before": finite(likelihood(side.base)),
        "beforeInterval": _likely(compared.base[name].interval if name in compared.base else None, name),
        "beforeIsGuessing": side.guessed,
        "after": finite(likelihood(side.tuned)),
        "interval": _likely(compared.tuned[name].interval if name in compared.tuned else None, name),
        "verdict": change.verdict.value if change is not None and not side.guessed else None,
        "curve": [{"step": step, "value": finite(value)} for step, value in side.curve],
        "curveTexts": side.curve_texts or None,
    }
    if bits in side.tuned.values():
        wire["bitsPerByte"] = {"before": side.base.values().get(bits), "after": side.tuned.values()[bits]}
    return wire


def _likely(interval: Interval | None, name: MetricName) -> list[float] | None:
    """Return the interval of a likelihood, from that of the figure that it is made of."""
    if interval is None or name is MetricName.PERPLEXITY:
        return _interval(interval)
    ends = [exp_of(interval.low), exp_of(interval.high)]
    return ends if all(map(math.isfinite, ends)) else None


def _interval(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def finite(value: float) -> float | None:
    """Return None for nan and infinity, which are not valid JSON."""
    return value if math.isfinite(value) else None
