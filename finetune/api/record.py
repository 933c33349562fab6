"""ProgressRecord: what the trainer says of itself, whole each time, so that a lost record loses nothing.

The newest record replaces the one before. `sequence` rises by one with each record of an attempt in one Ray cluster; a
reader keeps the record with the higher sequence and drops those of another attempt or cluster. Figures are numbers here
and strings in the resource's status.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, AwareDatetime, Field, FiniteFloat, PlainSerializer

from finetune.api.base import WireModel
from finetune.api.earlierjobs import ContinuedFrom, FineTunedModel
from finetune.api.metrics import Compared, MetricName, Score

RECORD_KEY = "record.json"
"""Key of the progress ConfigMap that holds the record."""
STOP_ANNOTATION = "finetune.dev/stop"
"""On the progress ConfigMap, with the name of a Ray cluster: the trainer there is to write a checkpoint and end. It sees it in the answer
to its next report, so that it needs no right to read. The next cluster of an attempt that a queue evicted is not meant."""
RECORD_MAX_BYTES = 64 * 1024
"""Larger records are refused by the controller; a real one has 1 to 4 KiB."""
WARNINGS_MAX = 20
"""The first warnings are the ones that a record holds."""
WARNING_MAX_LENGTH = 4096
"""Longer ones are cut."""
LOG_LINES_MAX, LOG_LINE_MAX = 20, 240
"""What is told of the log of what failed, in a record and in a status, which is read as a whole by whoever reads the job."""
COUNT_MAX = 2**53
"""Beyond it JSON readers round integers, and the status has no more than 64 bits for one."""
Name = TypeVar("Name", bound=str)
Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]
Warned = Annotated[str, AfterValidator(lambda text: text[:WARNING_MAX_LENGTH])]

EXIT_SUCCESS = 0
EXIT_FAILURE = 1
EXIT_INPUT = 2
"""The user's input is invalid: trying again cannot help."""
EXIT_INTERRUPTED = 3
"""SIGTERM: the run can continue, from a checkpoint if training had begun. Not a failure of the run."""


class Stage(StrEnum):
    """What the trainer is doing."""

    READING = "ReadingData"
    STARTING = "Starting"
    REWRITING = "RewritingTexts"
    BASELINE = "EvaluatingBaseline"
    TRAINING = "Training"
    FINAL = "EvaluatingFinal"
    EXPORTING = "Exporting"
    FINISHED = "Finished"


class Result(StrEnum):
    """How an attempt ended, in the trainer's own words."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    INPUT_INVALID = "InputInvalid"
    INTERRUPTED = "Interrupted"


REASON_GENERIC = "TrainingError"
"""The reason of a failure that the driver has no better word for."""
REASON_MEMORY, REASON_STORAGE = "OutOfMemory", "StorageFailed"
REASON_DIVERGED = "TrainingDiverged"
"""Loss or gradient ceased to be a number. Another attempt would see the same rows in the same order, and so the same."""
REASON_BUDGET = "GeneralBudgetExceeded"
"""No weights are within the job's budget for general texts. Another attempt would find the same."""
REASON_EXPORT = "ExportMismatch"
"""What was written is not the model that was measured. Another attempt would write the same."""


STOPPED = "stopped on request"
"""The whole message of a run that was stopped and had nothing else to report."""


class Outcome(WireModel):
    """The last word of an attempt."""

    result: Result
    reason: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]*$", max_length=64)]
    message: Annotated[str, Field(max_length=2048)]
    last_lines: Annotated[list[Annotated[str, Field(max_length=LOG_LINE_MAX)]], Field(max_length=LOG_LINES_MAX)] | None = None
    """Of what failed: the rank that explains the failure, or the driver. Ray itself tells 10 lines of the driver."""


class TrainingProgress(WireModel):
    """How far training is. The descriptions of status.progress hold here too; `step` counts finished optimizer steps."""

    step: Count
    total_steps: Count
    epoch: Annotated[float, Field(ge=0)]
    """Passes over the training rows, finished and begun: 1.5 is halfway through the second."""
    tokens_seen: Count
    """Over all ranks and epochs, without padding."""
    tokens_per_second: float | None = None
    """Over all ranks: of the last 20 steps, or of all steps of the attempt until so many follow an evaluation or a checkpoint; None until
    it is known."""
    eta_seconds: float | None = None
    """Until the last training step, without evaluation and export; None until it is known."""
    run: Annotated[str, Field(max_length=64)] | None = None
    """Which run of the job it is, such as `ablation weightDecay`; None for the job's own."""


def finite(figures: Mapping[Name, float]) -> dict[Name, float]:
    """Return the figures that are numbers: JSON has neither infinity nor nan, and a WER without reference words is not a figure."""
    return {name: value for name, value in figures.items() if math.isfinite(value)}


Figures = Annotated[dict[MetricName, float], PlainSerializer(finite)]
"""Figures by metric. One that the table of metrics lacks is refused with the whole record."""


class Generalization(WireModel):
    """The loss on a sample of training rows and on validation rows, measured alike; in nats for each unit with loss."""

    step: Count
    train_loss: FiniteFloat
    validation_loss: FiniteFloat
    gap: FiniteFloat
    """validation_loss - train_loss."""


class AdaptationFigures(WireModel):
    """How likely the model finds general texts, at the newest validation and at last, beside the base model."""

    general_perplexity: FiniteFloat | None = None
    general_pseudo_perplexity: FiniteFloat | None = None
    """Of an encoder, which has no perplexity: exp of its masked loss."""
    general_increase_percent: FiniteFloat | None = None
    within_budget: bool | None = None
    """None without a budget."""

    @classmethod
    def of(cls, word: str, value: float, increase_percent: float, within: bool | None) -> Self:
        """Return the figures that are numbers; `word` is Perplexity or PseudoPerplexity."""
        figures = finite({f"general{word}": value, "generalIncreasePercent": increase_percent})
        return cls.model_validate({**figures, "withinBudget": within})


class Metrics(WireModel):
    """Figures by metric: baseline and final on the same test rows, latest of training and validation. A Score is the task's own."""

    baseline: Figures = {}
    latest: Figures = {}
    validated: Score | None = None
    """Of the newest validation."""
    best: Score | None = None
    """Of the validation that was the best so far."""
    score: Score | None = None
    """The newest one there is: the base model's if it is measured before training, a validation's, at last the one on the test rows."""
    final: Figures = {}
    compared: dict[MetricName, Compared] = {}
    """Of the figures in final, with those in baseline."""
    generalization: Generalization | None = None
    """Of the newest validation."""
    adaptation: AdaptationFigures | None = None
    """Of a job that measures general texts."""


class CheckpointRecord(WireModel):
    """A published checkpoint. `verified`: its files were read back and their digests agree."""

    step: Count
    uri: str
    size_bytes: Count
    created_time: AwareDatetime
    attempt: Count
    score: Score | None = None
    """Of the validation at its step, where there was one."""
    best: bool = False
    within_budget: bool | None = None
    """Whether general texts were within the job's budget; None where that was not measured."""
    verified: bool


class ModelProvenance(WireModel):
    """Which weights were really trained: where they came from, in what precision, and their digest."""

    name: Annotated[str, Field(max_length=512)]
    source: Annotated[str, Field(max_length=512)]
    precision: Annotated[str, Field(max_length=128)]
    """The type that they are held in, and the one that they were stored in where that is another, such as 4-bit."""
    digest: Annotated[str, Field(max_length=128)]
    """sha256:… of the weight files."""
    revision: str | None = None
    """Commit on the hub."""
    parameters: Count | None = None
    """Tied ones are counted once."""
    fine_tune_job: FineTunedModel | None = None
    """The job that made it, where the job names one."""


class OutputRecord(WireModel):
    """Where the results are."""

    uri: str
    report_uri: str | None = None


class ProgressRecord(WireModel):
    """Everything that is known of one attempt, at one moment."""

    attempt: Count
    cluster: str = ""
    """RayCluster that the attempt runs in (empty on a laptop); with `attempt` it fences reports of a predecessor."""
    sequence: Annotated[int, Field(ge=1, le=COUNT_MAX)]
    time: AwareDatetime
    stage: Stage
    resumed_from_step: Count | None = None
    """None until it is decided; 0 for a fresh start."""
    continued_from: ContinuedFrom | None = None
    progress: TrainingProgress | None = None
    metrics: Metrics = Metrics()
    checkpoints: Annotated[list[CheckpointRecord], Field(max_length=64)] = []
    model: ModelProvenance | None = None
    output: OutputRecord | None = None
    warnings: Annotated[list[Warned], Field(max_length=WARNINGS_MAX)] = []
    outcome: Outcome | None = None
