"""FineTuneJobStatus: what the controller writes back. Figures of arbitrary precision are strings, times are RFC 3339.

`finetune run` writes the same form to DIR/status.json. Tests: tests/finetune/api/.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from finetune.api.base import WireModel
from finetune.api.metrics import Direction, MetricName
from finetune.api.record import WARNINGS_MAX


class ConditionType(StrEnum):
    """Conditions of a FineTuneJob."""

    ACCEPTED = "Accepted"
    """The spec can be run. False: the message names the field; or something that it refers to is not there yet."""
    RUNNING = "Running"
    REPORTING = "Reporting"
    """What the trainer reports reaches the status. There only once something stood in the way of it."""
    CHECKPOINT_AVAILABLE = "CheckpointAvailable"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Condition(WireModel):
    """A standard Kubernetes condition."""

    type: Annotated[str, Field(max_length=316)]
    status: Literal["True", "False", "Unknown"]
    observed_generation: int | None = None
    last_transition_time: datetime
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    message: Annotated[str, Field(max_length=32768)]


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    INTERRUPTED = "Interrupted"
    """The pod was told to stop (SIGTERM), and left a checkpoint if training had begun; not charged."""


class Attempt(WireModel):
    """One RayJob of this job. Written to status before the RayJob exists."""

    number: Annotated[int, Field(ge=1)]
    ray_job_name: str
    start_time: datetime | None = None
    end_time: datetime | None = None
    outcome: AttemptOutcome | None = None
    reason: str | None = None
    message: str | None = None
    last_step: int | None = None
    resumed_from_step: int | None = None
    job_reason: str | None = Field(
        None,
        description="Reason of the job's Succeeded or Failed, on the attempt that ended the job; no other attempt follows.",
    )


class Progress(WireModel):
    """How far training is."""

    stage: str | None = None
    step: int | None = None
    total_steps: int | None = None
    epoch: str | None = None
    percent: int | None = None
    tokens_seen: int | None = None
    tokens_per_second: str | None = None
    eta_seconds: int | None = None
    last_report_time: datetime | None = None


class ScoreStatus(WireModel):
    """The figure that the job is judged by, which of two values is the better one, and the step that it was measured at."""

    metric: MetricName
    value: Annotated[str, Field(max_length=32, pattern=r"^-?[0-9]+([.][0-9]+)?(e[-+][0-9]+)?$")]
    direction: Direction
    step: int


class MetricsStatus(WireModel):
    """Quality figures. baseline (the untouched model) and final are on the same test rows; latest is on the validation rows."""

    baseline: dict[str, str] | None = None
    latest: dict[str, str] | None = None
    best: ScoreStatus | None = Field(None, description="The best validation so far.")
    score: ScoreStatus | None = Field(
        None, description="The newest score: the base model's, a validation's, at last the one on the test rows."
    )
    final: dict[str, str] | None = None


class Checkpoint(WireModel):
    """A published checkpoint; `verified` means that its files were read back and their digests agree."""

    step: int
    uri: str
    size_bytes: int
    created_time: datetime
    attempt: int
    score: ScoreStatus | None = Field(None, description="Of the validation at this step, where there was one.")
    best: bool = False
    verified: bool


class ModelStatus(WireModel):
    """Which weights are trained: source, precision and digest."""

    name: str
    source: str
    precision: str
    digest: str
    revision: str | None = None
    parameters: int | None = None


class OutputStatus(WireModel):
    """Where the results are."""

    uri: str
    report_uri: str | None = None


class Dashboard(WireModel):
    """The Ray dashboard of the current attempt; the token is in the Secret of the RayCluster, key auth_token."""

    service: str
    port: int
    token_secret: str | None = None


class Summary(WireModel):
    """What `kubectl get` shows, made from the rest of the status."""

    step: str | None = None
    progress: str | None = None
    eta: str | None = None
    score: str | None = None
    attempt: int | None = None


class FineTuneJobStatus(WireModel):
    """Observed state of a FineTuneJob."""

    observed_generation: int | None = None
    conditions: list[Condition] | None = Field(None, max_length=16)
    phase: str | None = Field(None, description="Computed from the conditions, for the printer column only.")
    attempts: list[Attempt] | None = Field(None, max_length=200)
    progress: Progress | None = None
    metrics: MetricsStatus | None = None
    checkpoints: list[Checkpoint] | None = Field(None, max_length=64)
    model: ModelStatus | None = None
    output: OutputStatus | None = None
    dashboard: Dashboard | None = None
    warnings: list[str] | None = Field(
        None, max_length=WARNINGS_MAX, description="What the trainer found worth a look; training continues."
    )
    summary: Summary | None = Field(None, description="Computed from the rest, for the printer columns only.")
    report_cursor: str | None = Field(
        None, description="Attempt, Ray cluster and sequence number of the newest progress report that was taken over."
    )
