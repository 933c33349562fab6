"""Every figure that a run reports, as a table of facts, and Score, the one figure that a run is judged by.

Whatever shows, compares or allows a metric reads this table: CEL rules, field descriptions, tables, news, gauges. How a metric is
computed is in trainer/evaluation/metrics, one file a family; a new metric is a row here and an implementation there.
Needs pydantic only. Test: tests/finetune/api/test_metrics.py.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, FiniteFloat, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from finetune.api.base import WireModel

LARGE = 1e6
"""From here on a figure is shown in powers of ten: its decimals mean nothing."""


class MetricName(StrEnum):
    """Names of the metrics, as they are in job files, records, status and reports."""

    TRAIN_LOSS = "trainLoss"
    PERPLEXITY = "perplexity"
    BITS_PER_BYTE = "bitsPerByte"
    EXACT_MATCH = "exactMatch"
    BLEU = "bleu"
    CHRF = "chrf"
    WER = "wer"


class Direction(StrEnum):
    """Which of two values is the better one."""

    LOWER = "lower"
    HIGHER = "higher"


class Needs(StrEnum):
    """What a metric is computed from; it decides when it can be measured and what that costs."""

    TRAINING = "training"
    """Nothing more: training steps leave it behind."""
    TOKEN_SUMS = "token sums"  # noqa: S105 - a sum over tokens
    """Sums of the loss over the tokens of every row: one forward pass."""
    GENERATED_TEXT = "generated text"
    """Answers, written token by token: too slow for validation, so only some test rows have one."""
    CLASSES = "classes"
    """The class that the model chose for every row: one forward pass."""
    SPANS = "spans"
    """The part of the text that the model chose in every row: one forward pass."""


@dataclass(frozen=True)
class MetricFacts:
    """The facts about a metric that need no computation."""

    name: MetricName
    heading: str
    """In tables."""
    description: str
    decimals: int
    direction: Direction
    needs: Needs
    unit: str | None = None

    @property
    def lower_is_better(self) -> bool:
        """Which of two values is the better one, as a flag."""
        return self.direction is Direction.LOWER

    def is_better(self, value: float, other: float, by: float = 0.0) -> bool:
        """Return whether `value` is better than `other`, and by more than `by`; false for what is not a number."""
        return value < other - by if self.lower_is_better else value > other + by

    def shown(self, value: float) -> str:
        """Return a value as people read it, with the decimals that mean something."""
        return f"{value:.{self.decimals}f}" if abs(value) < LARGE else f"{value:.4g}"

    def named(self, value: float) -> str:
        """Return a value with the name of the metric, as people read both: perplexity 14.93."""
        return f"{self.name} {self.shown(value)}"


METRICS: Mapping[MetricName, MetricFacts] = {
    facts.name: facts
    for facts in (
        MetricFacts(
            MetricName.TRAIN_LOSS,
            "Training loss",
            "mean negative log-likelihood of a training token, in nats",
            decimals=4,
            direction=Direction.LOWER,
            needs=Needs.TRAINING,
        ),
        MetricFacts(
            MetricName.PERPLEXITY,
            "Perplexity",
            "exp of the mean negative log-likelihood of a token",
            decimals=2,
            direction=Direction.LOWER,
            needs=Needs.TOKEN_SUMS,
        ),
        MetricFacts(
            MetricName.BITS_PER_BYTE,
            "Bits per byte",
            "negative log-likelihood per byte of text, comparable between tokenizers",
            decimals=3,
            direction=Direction.LOWER,
            needs=Needs.TOKEN_SUMS,
            unit="bit/byte",
        ),
        MetricFacts(
            MetricName.EXACT_MATCH,
            "Exact match %",
            "share of answers that equal the reference up to case and white space",
            decimals=1,
            direction=Direction.HIGHER,
            needs=Needs.GENERATED_TEXT,
            unit="percent of the answers",
        ),
        MetricFacts(
            MetricName.BLEU,
            "BLEU",
            "n-grams of words shared with the references, corpus level (sacrebleu)",
            decimals=1,
            direction=Direction.HIGHER,
            needs=Needs.GENERATED_TEXT,
            unit="0-100",
        ),
        MetricFacts(
            MetricName.CHRF,
            "chrF",
            "n-grams of characters shared with the references, corpus level (sacrebleu)",
            decimals=1,
            direction=Direction.HIGHER,
            needs=Needs.GENERATED_TEXT,
            unit="0-100",
        ),
        MetricFacts(
            MetricName.WER,
            "WER",
            "word errors per word of the references, corpus level (jiwer)",
            decimals=3,
            direction=Direction.LOWER,
            needs=Needs.GENERATED_TEXT,
            unit="errors per reference word",
        ),
    )
}


def metrics_needing(*needs: Needs) -> tuple[MetricName, ...]:
    """Return the metrics that are computed from one of `needs`, in the order of the table."""
    return tuple(name for name, facts in METRICS.items() if facts.needs in needs)


@dataclass(frozen=True)
class OneOf:
    """Annotation of a MetricName that takes only some of them: in the schema an enum, in Python refused as one."""

    names: tuple[MetricName, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "enum": [name.value for name in self.names]}

    def _checked(self, value: Any) -> Any:
        if value not in self.names:
            *others, last = (repr(name.value) for name in self.names)
            expected = f"{', '.join(others)} or {last}" if others else last
            raise PydanticCustomError("enum", "Input should be {expected}", {"expected": expected})
        return value


class Score(WireModel):
    """One figure that a model is judged by, and the step of its weights; 0 is the untouched base model."""

    metric: MetricName
    value: FiniteFloat
    direction: Direction
    step: Annotated[int, Field(ge=0, le=2**53)]

    @model_validator(mode="after")
    def _direction_is_the_metrics(self) -> Self:
        if self.direction is not METRICS[self.metric].direction:
            raise ValueError(f"{self.metric} is better when {METRICS[self.metric].direction}")
        return self

    @classmethod
    def of(cls, metric: MetricName, value: float, step: int) -> "Score":
        """Return the score of `value`; raises pydantic's ValidationError where it is not finite."""
        return cls(metric=metric, value=value, direction=METRICS[metric].direction, step=step)

    def __str__(self) -> str:
        """As people read it: perplexity 14.93."""
        return METRICS[self.metric].named(self.value)


def score_of(figures: Mapping[MetricName, float], metric: MetricName, step: int) -> Score | None:
    """Return the score among `figures`; None where it is missing, infinite or not a number: nothing is better or worse than it."""
    value = figures.get(metric)
    return Score.of(metric, value, step) if value is not None and math.isfinite(value) else None


def better(score: Score, other: Score | None) -> bool:
    """Return whether `score` is better than `other`, or the first one. Raises ValueError for scores of two metrics."""
    if other is None:
        return True
    if score.metric is not other.metric:
        raise ValueError(f"{score.metric} and {other.metric} cannot be compared")
    return METRICS[score.metric].is_better(score.value, other.value)
