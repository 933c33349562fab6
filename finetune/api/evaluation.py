"""The sections of a job that name metrics: what is measured on the held-out rows, and when the figures end the training.

What a task measures comes from the tables of tasks and metrics. A sentence under each field is its documentation: it appears
in the CRD and so in `kubectl explain`. Tests: tests/finetune/api/test_schema.py, tests/integration/test_malformed_jobs.py.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from finetune.api.base import Rule, WireModel
from finetune.api.metrics import METRICS, MetricName, Needs, OneOf
from finetune.api.tasks import METRICS_OF_TASKS, VALIDATED_METRICS, Route, in_words, per_task, scores

PositiveInt = Annotated[int, Field(ge=1)]


class EarlyStopping(WireModel):
    """Stop when the validation rows stop improving."""

    metric: Annotated[MetricName, OneOf(METRICS_OF_TASKS)] | None = Field(
        None,
        description="Metric that is watched, on the validation rows; it also chooses the best weights, unless evaluation.bestMetric"
        f" names another. One of generated text has answers written at every validation. Default: the task's score, {per_task(scores)}.",
    )
    patience: PositiveInt = Field(3, description="Evaluations in a row without improvement before training stops.")
    min_delta: Annotated[float, Field(ge=0)] = Field(0.0, description="Smallest change for the better that counts as an improvement.")


class TextNormalization(StrEnum):
    """What is the same word or character in error rates."""

    NONE = "none"
    """Only what is written alike."""
    BASIC = "basic"
    """Upper and lower case, with and without punctuation."""


class Generation(WireModel):
    """Greedy generation for the text metrics."""

    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = Field(128, description="Tokens generated at most for one answer.")
    samples: PositiveInt = Field(
        200,
        description="Rows that are answered: one of each data source and pair of languages in turn, the first ones of each. They are"
        " test rows, and validation rows if a metric of generated text chooses the weights or stops early."
        " What needs no answers is measured on all rows.",
    )


TEXT_METRICS = tuple(name for name in METRICS_OF_TASKS if METRICS[name].needs is Needs.GENERATED_TEXT)


class Ablation(StrEnum):
    """Parts of a job whose effect is measured: a control run is trained without the part."""

    AUGMENTATION = "augmentation"
    WEIGHT_DECAY = "weightDecay"
    DROPOUT = "dropout"
    EARLY_STOPPING = "earlyStopping"
    PRETRAINING = "pretraining"
    """Trained from random weights; needs method.full."""
    DOMAIN_ADAPTATION = "domainAdaptation"
    DATA = "data"
    """Trained on shares of the rows, not without them."""


DATA_SHARES = (0.25, 0.5)
"""Shares of the training rows that control runs of `data` learn; the job's own run has learned all of them."""


class Evaluation(WireModel):
    """What is measured on the held-out rows: validation rows during training; test rows with the base model and with the tuned one."""

    every_steps: PositiveInt | None = Field(None, description="Optimizer steps between validations. Default: once an epoch.")
    metrics: list[Annotated[MetricName, OneOf(METRICS_OF_TASKS)]] | None = Field(
        None,
        min_length=1,
        max_length=len(METRICS_OF_TASKS),
        description=f"Metrics on the test rows. {in_words(VALIDATED_METRICS)} are always measured; of {in_words(TEXT_METRICS)}"
        f" only those listed, and if none is, no answers are generated. Default: {per_task(lambda facts: in_words(facts.by_default))}."
        f" {'; '.join(f'{name}: {METRICS[name].description}' for name in METRICS_OF_TASKS)}.",
    )
    best_metric: Annotated[MetricName, OneOf(METRICS_OF_TASKS)] | None = Field(
        None,
        description="Metric that chooses the best weights, on the validation rows, and that the job is judged by. One of generated text"
        " has answers written at every validation. Default: that of regularization.earlyStopping, else the task's score.",
    )
    text_normalization: TextNormalization = Field(
        TextNormalization.BASIC,
        description="What wer and cer take for the same: basic ignores case and punctuation, none compares texts as they are written."
        " Runs of white space are one space in both.",
    )
    generation: Generation | None = Field(None, description=f"How answers are generated for {in_words(TEXT_METRICS)}.")
    ablations: list[Ablation] | None = Field(
        None,
        min_length=1,
        max_length=len(Ablation),
        description="Parts of the job whose effect is measured. For each of them a control run is trained after the job's own, with the"
        " same seed and everything else alike, and the report says on the same test rows what the part brought, with its 95 % interval."
        " augmentation, weightDecay and dropout: without it (dropout is what the job sets, not what the model has of its own),"
        " for as many steps, which are more epochs where augmentation copies rows."
        " With domainAdaptation.corpus these begin with the same adapted model as the job."
        " pretraining: from random weights (method.full only)."
        " earlyStopping: to the end, with the last weights. domainAdaptation: from the untouched model, without corpus and replay;"
        " where training.epochs is set, with as many epochs of the labelled rows, which are fewer steps than with replay."
        " None has the budget of domainAdaptation."
        " data: on 25 % and on 50 % of the training rows, for as many epochs; each costs its share of the job's own training,"
        " every other one as much as that again.",
    )

    rules = (
        Rule(
            "!has(self.ablations) || self.ablations.all(name, self.ablations.exists_one(other, other == name))",
            lambda evaluation: len(set(evaluation.ablations or ())) == len(evaluation.ablations or ()),
            "evaluation.ablations: name each part once",
        ),
    )

    def metrics_of(self, route: Route) -> tuple[MetricName, ...]:
        """What is measured on the test rows: always what costs no generation, of the rest what is listed, by default the task's own."""
        listed = route.by_default if self.metrics is None else self.metrics
        return tuple(name for name in route.metrics if name in route.validated or name in listed)
