"""The interface of metrics: statistics of each row, and a value of their sums, so that any part of the rows can be judged.

A figure is the value of the sums over all rows, never a mean of means; a source's figure is that of its rows; an interval comes from
the sums of resampled rows (trainer/evaluation/bootstrap.py). A new metric is a row in finetune/api/metrics.py and a class in a file
of this folder, listed in that file's METRICS for registry.py; one of generated text subclasses corpus.TextMetric, because references
may leave it undefined. No torch. Tests: tests/trainer/evaluation/metrics/.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from finetune.api.metrics import MetricFacts
from trainer.evaluation.metrics.evidence import Evidence, Floats

NO_ROWS = "there are no rows"
E_contra = TypeVar("E_contra", bound=Evidence, contravariant=True)


@dataclass(frozen=True)
class Figure:
    """The value of one metric. `signature` describes how it was computed, so that values can be compared; `unit` is for display."""

    value: float | None
    """None if the metric is undefined, for the reason in `reason`."""
    signature: str | None = None
    unit: str | None = None
    reason: str | None = None
    rows: int = 0
    """The rows that it was computed from."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Parts of the value that are read beside it, such as the kinds of errors."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """What a metric's value is a function of, for each row."""

    rows: Floats
    """(rows, k); values add up over rows. Of any numeric type."""
    signature: str


class Metric(ABC, Generic[E_contra]):
    """One metric; `facts.needs` names the kind of evidence. Stateless."""

    facts: ClassVar[MetricFacts]
    resampled: ClassVar[bool] = True
    """Whether the percentiles of its values in resampled rows are an interval of it: not if drawing rows again biases it."""

    def reason_left_out(self, evidence: E_contra) -> str | None:
        """Return why the metric has no value for these rows, whatever a model says; None if it has one."""
        return None if len(evidence) else NO_ROWS

    @abstractmethod
    def statistics(self, evidence: E_contra) -> Statistics:
        """Return the statistics of each row, of at least one."""

    @abstractmethod
    def value(self, sums: Floats) -> Floats:
        """Return the value for each of `sums` (..., k): (...); nan where it is undefined."""

    def undefined(self, sums: Floats) -> str:
        """Return why there is no value for these sums (k,)."""
        return "it is not a number"

    def details(self, sums: Floats, evidence: E_contra) -> Mapping[str, Any]:
        """Return what is read beside the value: JSON."""
        return {}

    def compute(self, evidence: E_contra) -> Figure:
        """Return the figure over all rows, with a reason instead of a value if it is undefined."""
        return self.compute_here(evidence)

    def compute_here(self, evidence: E_contra) -> Figure:
        """Return what `compute` does, without a library around it."""
        reason = self.reason_left_out(evidence)
        if reason is not None:
            return Figure(None, unit=self.facts.unit, reason=reason, rows=len(evidence))
        found = self.statistics(evidence)
        sums = found.rows.sum(axis=0, dtype=float)
        value = float(self.value(sums))
        if math.isnan(value):
            return Figure(None, found.signature, self.facts.unit, self.undefined(sums), len(evidence))
        return Figure(value, found.signature, self.facts.unit, rows=len(evidence), details=self.details(sums, evidence))


def ratio(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, elementwise, and nan where the whole is 0."""
    found: Floats = np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) != 0)
    return found
