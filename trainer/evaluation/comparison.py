"""How certain figures are: intervals of a model's figures, figures of parts of the rows, and whether two models really differ.

Works on measurements, which keep the rows, so that it can be done long after. Pure. Test: tests/trainer/evaluation/test_comparison.py.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.api.metrics import METRICS, Compared, MetricName, Verdict
from trainer.evaluation.bootstrap import Interval, interval_of, p_value, resampled_sums
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.evidence import Evidence, Floats, Integers
from trainer.evaluation.metrics.registry import implementations

LEAST_ROWS = 10
"""With fewer rows there are no intervals: a few rows often change all in the same direction by chance, and resamples of them are too alike
(three rows do in one of four cases)."""
ALIKE = "every resample of the rows has the same value"


@dataclass(frozen=True)
class Part:
    """A figure of part of the rows."""

    value: float | None
    rows: int
    interval: Interval | None


@dataclass(frozen=True)
class Certainty:
    """What is known of a figure beside its value."""

    interval: Interval | None = None
    """None where resamples cannot show how far the figure could be off: `no_interval` says why."""
    sources: Mapping[str, Part] = field(default_factory=dict)
    """By the rows' data source, if there are several."""
    groups: Mapping[str, Part] = field(default_factory=dict)
    """By the rows' group, such as their pair of languages, if there are several."""
    no_interval: str | None = None
    """Why there is no interval."""


@dataclass(frozen=True)
class Difference:
    """Of the tuned model's figure and the base model's, on the same rows."""

    interval: Interval
    p_value: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Base and tuned model, by metric."""

    base: Mapping[MetricName, Certainty] = field(default_factory=dict)
    tuned: Mapping[MetricName, Certainty] = field(default_factory=dict)
    difference: Mapping[MetricName, Difference] = field(default_factory=dict)
    by_source: Mapping[MetricName, Mapping[str, Difference]] = field(default_factory=dict)
    """Of the rows of each data source, if there are several."""

    def without_verdict(self, names: Collection[MetricName]) -> "Comparison":
        """Return it without what is said of both models' difference in these figures."""
        return replace(
            self,
            difference={name: found for name, found in self.difference.items() if name not in names},
            by_source={name: found for name, found in self.by_source.items() if name not in names},
        )

    def in_short(self, tuned: Mapping[MetricName, Figure]) -> dict[MetricName, Compared]:
        """Return the intervals, verdicts and rows of the tuned model's figures, for the progress record."""
        return {
            name: Compared(
                interval=(found.interval.low, found.interval.high) if found.interval is not None else None,
                verdict=self.difference[name].verdict if name in self.difference else None,
                rows=tuned[name].rows if name in tuned else None,
            )
            for name, found in self.tuned.items()
        }


def certainty_of(found: Measurement) -> dict[MetricName, Certainty]:
    """Return intervals and parts of every defined figure."""
    return {name: resampled.certainty for name, resampled in _resampled(found).items()}


def compare(base: Measurement, tuned: Measurement) -> Comparison:
    """Return how certain both models' figures are, and their differences where both were measured on the same rows."""
    left, right = _resampled(base), _resampled(tuned)
    differences = {
        name: difference for name in left if name in right and (difference := _difference(name, left[name], right[name])) is not None
    }
    certain_base, certain_tuned = ({name: resampled.certainty for name, resampled in side.items()} for side in (left, right))
    sources = {name: _by_source(name, left[name].sources, right[name].sources) for name in left if name in right}
    return Comparison(certain_base, certain_tuned, differences, {name: found for name, found in sources.items() if found})


def _by_source(name: MetricName, base: Mapping[str, "_Resampled"], tuned: Mapping[str, "_Resampled"]) -> dict[str, Difference]:
    pairs = {source: _difference(name, base[source], tuned[source]) for source in base if source in tuned}
    return {source: difference for source, difference in pairs.items() if difference is not None}


@dataclass(frozen=True, eq=False)
class _Resampled:
    """The values of a figure in all resamples; none of too few rows."""

    values: Floats
    rows: int
    signature: str
    certainty: Certainty
    sources: Mapping[str, "_Resampled"] = field(default_factory=dict)


def _resampled(found: Measurement) -> dict[MetricName, _Resampled]:
    """Return the resampled figures of a model. All metrics of a kind are of the same rows, and are resampled together."""
    result: dict[MetricName, _Resampled] = {}
    for needs, evidence in found.evidence.items():
        names = [name for name, figure in found.figures.items() if METRICS[name].needs is needs and figure.value is not None]
        statistics = {name: implementations()[name].statistics(evidence) for name in names}
        values = _values({name: found.rows for name, found in statistics.items()})
        sources, groups = (_parts(names, evidence, tags.parts()) for tags in (evidence.source, evidence.group))
        for name, found_rows in statistics.items():
            interval = _interval(name, values[name])
            why = _why_none(name, values[name], len(evidence)) if interval is None else None
            certainty = Certainty(interval, _as_parts(sources[name]), _as_parts(groups[name]), why)
            apart = {source: resampled for source, (_, resampled) in sources[name].items() if resampled is not None}
            result[name] = _Resampled(values[name], len(evidence), found_rows.signature, certainty, apart)
    return result


def _interval(name: MetricName, values: Floats) -> Interval | None:
    """Return a figure's interval; None where resamples cannot show it: where they are biased, or all equal, as of 0 right answers."""
    found = interval_of(values) if implementations()[name].resampled else None
    return None if found is None or _all_alike(found) else found


def _all_alike(found: Interval) -> bool:
    return math.isclose(found.low, found.high, rel_tol=1e-9)


def _why_none(name: MetricName, values: Floats, rows: int) -> str:
    """Return why a figure has no interval."""
    if not implementations()[name].resampled:
        return "resamples of the rows are biased"
    if rows < LEAST_ROWS:
        return f"there are fewer than {LEAST_ROWS} rows"
    return ALIKE if interval_of(values) is not None else "too many resamples of the rows have no value"


def _values(tables: Mapping[MetricName, NDArray[Any]]) -> dict[MetricName, Floats]:
    """Return the figures of all resamples; none where there are too few rows, or where one is infinite."""
    chosen = {name: table for name, table in tables.items() if len(table) >= LEAST_ROWS and np.isfinite(table).all()}
    sums = resampled_sums(list(chosen.values())) if chosen else []
    found = {name: implementations()[name].value(resampled) for name, resampled in zip(chosen, sums, strict=True)}
    return {name: found.get(name, np.zeros(0)) for name in tables}


_Parts = dict[str, tuple[Part, _Resampled | None]]


def _as_parts(found: _Parts) -> dict[str, Part]:
    return {name: part for name, (part, _) in found.items()}


def _parts(names: Sequence[MetricName], evidence: Evidence, parts: Mapping[str, Integers]) -> dict[MetricName, _Parts]:
    """Return the figures of each part, as if its rows were all there are: a row's statistics may depend on the other rows."""
    found: dict[MetricName, _Parts] = {name: {} for name in names}
    for part, rows in parts.items():
        alone = evidence.at(rows)
        defined = [name for name in names if implementations()[name].reason_left_out(alone) is None]
        statistics = {name: implementations()[name].statistics(alone) for name in defined}
        tables = {name: of_rows.rows for name, of_rows in statistics.items()}
        values = _values(tables)
        for name in names:
            value = float(implementations()[name].value(tables[name].sum(axis=0, dtype=float))) if name in tables else math.nan
            interval = _interval(name, values[name]) if name in tables else None
            resampled = _Resampled(values[name], len(rows), statistics[name].signature, Certainty()) if name in tables else None
            found[name][part] = Part(value if math.isfinite(value) else None, len(rows), interval), resampled
    return found


def _difference(name: MetricName, base: _Resampled, tuned: _Resampled) -> Difference | None:
    """Return how tuned differs from base; None of other or too few rows, other counting, and where resamples are undefined."""
    if base.rows != tuned.rows or base.signature != tuned.signature or len(base.values) != len(tuned.values):
        return None
    with np.errstate(invalid="ignore"):  # infinite in both
        differences = tuned.values - base.values
    interval, significance = interval_of(differences), p_value(differences)
    if interval is None or significance is None or not implementations()[name].resampled:
        return None
    if interval.low <= 0 <= interval.high:
        verdict = Verdict.UNCLEAR
    else:
        verdict = Verdict.BETTER if METRICS[name].is_better(interval.low, 0) else Verdict.WORSE
    return Difference(interval, significance, verdict)
