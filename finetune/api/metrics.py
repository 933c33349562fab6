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
    MASKED_LOSS = "maskedLoss"
    EXACT_MATCH = "exactMatch"
    TOKEN_F1 = "tokenF1"  # noqa: S105 - words, not a secret
    BLEU = "bleu"
    CHRF = "chrf"
    ROUGE_L = "rougeL"
    WER = "wer"
    CER = "cer"
    DISTINCT_1 = "distinct1"
    DISTINCT_2 = "distinct2"
    REPETITION = "repetition"
    UNFINISHED = "unfinished"
    SQUAD_EXACT_MATCH = "squadExactMatch"
    SQUAD_F1 = "squadF1"
    ACCURACY = "accuracy"
    MACRO_F1 = "macroF1"
    MICRO_F1 = "microF1"
    MCC = "mcc"
    CALIBRATION_ERROR = "calibrationError"


class Direction(StrEnum):
    """Which of two values is the better one."""

    LOWER = "lower"
    HIGHER = "higher"


LOWER, HIGHER = Direction.LOWER, Direction.HIGHER


class Needs(StrEnum):
    """What a metric is computed from; it decides when it can be measured and what that costs."""

    TRAINING = "training"
    """Nothing more: training steps leave it behind."""
    TOKEN_SUMS = "token sums"  # noqa: S105 - a sum over tokens
    """Sums of the loss over the tokens of every row: one forward pass."""
    GENERATED_TEXT = "generated text"
    """Answers, written token by token: too slow for validation, so only some test rows have one."""
    MASKED_SUMS = "masked sums"
    """Sums of the loss over the masked tokens of every row: one forward pass."""
    CLASSES = "classes"
    """The model's probability of each class for every row: one forward pass."""
    SPANS = "spans"
    """The part of the text that the model chose in every row, or that there is none: one forward pass."""


@dataclass(frozen=True)
class Scale:
    """Lowest and highest possible value; None where there is none."""

    lowest: float
    highest: float | None

    def __str__(self) -> str:
        return f"from {self.lowest:g}" if self.highest is None else f"{self.lowest:g} to {self.highest:g}"

    def fraction(self, value: float) -> float | None:
        """Return a value of 0 to 100 as one of 0 to 1; None for other scales."""
        return value / 100 if self.highest == 100 else None


FROM_ZERO, SHARE, PERCENT, CORRELATION = Scale(0, None), Scale(0, 1), Scale(0, 100), Scale(-1, 1)


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
    scale: Scale = FROM_ZERO

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
        MetricFacts(MetricName.TRAIN_LOSS, "Training loss", "mean negative log-likelihood of a training token, in nats",
                    decimals=4, direction=LOWER, needs=Needs.TRAINING),
        MetricFacts(MetricName.PERPLEXITY, "Perplexity", "exp of the mean negative log-likelihood of a token",
                    decimals=2, direction=LOWER, needs=Needs.TOKEN_SUMS, scale=Scale(1, None)),
        MetricFacts(MetricName.BITS_PER_BYTE, "Bits per byte", "negative log-likelihood per byte of text, comparable between tokenizers",
                    decimals=3, direction=LOWER, needs=Needs.TOKEN_SUMS, unit="bit/byte"),
        MetricFacts(MetricName.MASKED_LOSS, "Masked loss", "mean negative log-likelihood of a masked token, in nats",
                    decimals=4, direction=LOWER, needs=Needs.MASKED_SUMS, unit="nats per masked token"),
        MetricFacts(MetricName.EXACT_MATCH, "Exact match %", "share of answers that equal the reference up to case and white space",
                    decimals=1, direction=HIGHER, needs=Needs.GENERATED_TEXT, unit="percent of the answers", scale=PERCENT),
        MetricFacts(MetricName.TOKEN_F1, "Token F1 %", "F1 of the words shared by answer and reference, mean over rows, as in SQuAD",
                    decimals=1, direction=HIGHER, needs=Needs.GENERATED_TEXT, unit="percent", scale=PERCENT),
        MetricFacts(MetricName.BLEU, "BLEU", "n-grams of words shared with the references, corpus level (sacrebleu)",
                    decimals=1, direction=HIGHER, needs=Needs.GENERATED_TEXT, unit="0-100", scale=PERCENT),
        MetricFacts(MetricName.CHRF, "chrF", "n-grams of characters shared with the references, corpus level (sacrebleu)",
                    decimals=1, direction=HIGHER, needs=Needs.GENERATED_TEXT, unit="0-100", scale=PERCENT),
        MetricFacts(MetricName.ROUGE_L, "ROUGE-L", "longest common subsequence of words of answer and reference, mean F1 over rows",
                    decimals=1, direction=HIGHER, needs=Needs.GENERATED_TEXT, unit="0-100", scale=PERCENT),
        MetricFacts(MetricName.WER, "WER", "word errors per word of the references, corpus level (jiwer)",
                    decimals=3, direction=LOWER, needs=Needs.GENERATED_TEXT, unit="errors per reference word"),
        MetricFacts(MetricName.CER, "CER", "character errors per character of the references, corpus level (jiwer)",
                    decimals=3, direction=LOWER, needs=Needs.GENERATED_TEXT, unit="errors per reference character"),
        MetricFacts(MetricName.DISTINCT_1, "Distinct-1", "different words among all words of the answers",
                    decimals=3, direction=HIGHER, needs=Needs.GENERATED_TEXT, scale=SHARE),
        MetricFacts(MetricName.DISTINCT_2, "Distinct-2", "different pairs of words among all pairs of the answers",
                    decimals=3, direction=HIGHER, needs=Needs.GENERATED_TEXT, scale=SHARE),
        MetricFacts(MetricName.REPETITION, "Repetition", "share of an answer's runs of four words that it has had before",
                    decimals=3, direction=LOWER, needs=Needs.GENERATED_TEXT, scale=SHARE),
        MetricFacts(MetricName.UNFINISHED, "Unfinished", "share of answers that the token limit cut",
                    decimals=3, direction=LOWER, needs=Needs.GENERATED_TEXT, scale=SHARE),
        MetricFacts(MetricName.SQUAD_EXACT_MATCH, "SQuAD exact %", "share of answers that are a right one (SQuAD v2)",
                    decimals=1, direction=HIGHER, needs=Needs.SPANS, unit="percent of the answers", scale=PERCENT),
        MetricFacts(MetricName.SQUAD_F1, "SQuAD F1 %", "F1 of the words shared by answer and reference, mean over rows (SQuAD v2)",
                    decimals=1, direction=HIGHER, needs=Needs.SPANS, unit="percent", scale=PERCENT),
        MetricFacts(MetricName.ACCURACY, "Accuracy", "share of rows whose class is right; of several labels, whose labels all are",
                    decimals=3, direction=HIGHER, needs=Needs.CLASSES, scale=SHARE),
        MetricFacts(MetricName.MACRO_F1, "Macro F1", "mean F1 of the classes",
                    decimals=3, direction=HIGHER, needs=Needs.CLASSES, scale=SHARE),
        MetricFacts(MetricName.MICRO_F1, "Micro F1", "F1 over the decisions about all labels",
                    decimals=3, direction=HIGHER, needs=Needs.CLASSES, scale=SHARE),
        MetricFacts(MetricName.MCC, "MCC", "Matthews' correlation of right and chosen classes",
                    decimals=3, direction=HIGHER, needs=Needs.CLASSES, scale=CORRELATION),
        MetricFacts(MetricName.CALIBRATION_ERROR, "Calibration error", "how far the probability of chosen classes is from their accuracy",
                    decimals=3, direction=LOWER, needs=Needs.CLASSES, scale=SHARE),
    )
}  # fmt: skip


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


class Verdict(StrEnum):
    """Whether the tuned model is better than the base model, as far as the test rows show."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "no clear difference"
    """The 95 % interval of the difference includes 0."""


class Compared(WireModel):
    """How certain a figure of the tuned model is, and how it compares with the base model's on the same rows."""

    interval: tuple[FiniteFloat, FiniteFloat] | None = None
    """95 % interval of the tuned model's value."""
    verdict: Verdict | None = None
    """None where it cannot be told, as with one row."""
    rows: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """Number of test rows that the figure is of; None in records of earlier versions."""

    def words(self, metric: MetricName, base: float | None, tuned: float) -> str:
        """Return it as people read it: 14.93 → 9.81 [9.50, 10.10], better."""
        shown = METRICS[metric].shown
        before = f"{shown(base)} → " if base is not None else ""
        interval = f" [{', '.join(map(shown, self.interval))}]" if self.interval is not None else ""
        return f"{before}{shown(tuned)}{interval}{f', {self.verdict}' if self.verdict is not None else ''}"


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
