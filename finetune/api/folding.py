"""From the trainer's progress records to a job's status.

A record comes from a pod that the user's data and code run in: it is taken for what it says of this job's own figures and
for nothing else, after its size, form, attempt, Ray cluster and sequence number have been checked. The controller and
`finetune run` fold records by the same function. Pure. Test: tests/finetune/api/test_folding.py.
"""

import json
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from finetune.api import attempts
from finetune.api.cursor import Cursor
from finetune.api.metrics import MetricName, Score
from finetune.api.record import (
    RECORD_MAX_BYTES,
    AdaptationFigures,
    CheckpointRecord,
    Generalization,
    Metrics,
    ProgressRecord,
    Stage,
    TrainingProgress,
)
from finetune.api.status import (
    AdaptationStatus,
    Checkpoint,
    FineTuneJobStatus,
    GeneralizationStatus,
    MetricsStatus,
    ModelStatus,
    OutputStatus,
    Progress,
    ScoreStatus,
)
from finetune.system.redaction import printable, redact

WRITE_INTERVAL = timedelta(seconds=15)
"""A job's status is written at most this often for progress: thousands of jobs report to one etcd."""
TEXT_MAX_LENGTH = 1024
SLOWER_PERCENT = 25
"""The rate of twenty steps, or of all those of a short or often interrupted attempt, varies with the lengths of their texts; what is below
its highest by less is no news."""


class Refusal(StrEnum):
    """Why a record is not taken over, in one word."""

    TOO_LARGE = "TooLarge"
    UNREADABLE = "Unreadable"
    OTHER_ATTEMPT = "OtherAttempt"
    OTHER_CLUSTER = "OtherCluster"
    LOWER_SEQUENCE = "LowerSequence"


class RecordError(Exception):
    """A record that is not taken over; the message says why."""

    def __init__(self, refusal: Refusal, words: str) -> None:
        super().__init__(words)
        self.refusal = refusal


def parse(text: str) -> ProgressRecord:
    """Return the record in `text`; raise RecordError if it is too large or not a record."""
    if len(text.encode(errors="replace")) > RECORD_MAX_BYTES:
        raise RecordError(Refusal.TOO_LARGE, f"the progress record is over the limit of {RECORD_MAX_BYTES} bytes")
    try:
        return ProgressRecord.model_validate(_without_control(json.loads(text)))
    except ValidationError as error:
        first = error.errors()[0]
        says = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    except (ValueError, RecursionError) as error:
        says = str(error)
    raise RecordError(Refusal.UNREADABLE, printable(f"the progress record is not readable: {says}"[:TEXT_MAX_LENGTH]))


def _without_control(value: Any) -> Any:
    """Return what JSON holds without characters that a terminal obeys: people read its texts in one. Names are compared with known ones."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {name: _without_control(each) for name, each in value.items()}
    return [_without_control(each) for each in value] if isinstance(value, list) else value


def check_origin(record: ProgressRecord, attempt: int, cluster: str | None) -> None:
    """Raise RecordError for a record of another attempt, or of another Ray cluster of the same attempt than `cluster` if it is known."""
    if record.attempt != attempt:
        raise RecordError(Refusal.OTHER_ATTEMPT, f"the progress record is of attempt {record.attempt}, attempt {attempt} runs")
    if cluster is not None and record.cluster != cluster:
        words = f"the progress record is of Ray cluster {record.cluster!r}, the attempt runs in {cluster!r}"
        raise RecordError(Refusal.OTHER_CLUSTER, words)


def check_order(status: FineTuneJobStatus, record: ProgressRecord) -> None:
    """Raise RecordError for a record whose sequence number is lower than that of one that was taken over before."""
    cursor = Cursor.parse(status.report_cursor)
    same = cursor is not None and (cursor.attempt, cursor.cluster) == (record.attempt, record.cluster)
    if cursor is not None and same and record.sequence < cursor.sequence:
        words = f"the progress record has the sequence number {record.sequence}, after {cursor.sequence}"
        raise RecordError(Refusal.LOWER_SEQUENCE, words)


def is_news(status: FineTuneJobStatus, record: ProgressRecord) -> bool:
    """Return whether the record is newer than what the status holds."""
    cursor = Cursor.parse(status.report_cursor)
    if cursor is None or (cursor.attempt, cursor.cluster) != (record.attempt, record.cluster):
        return cursor is None or record.attempt >= cursor.attempt
    return record.sequence > cursor.sequence


def wait_before_taking(status: FineTuneJobStatus, record: ProgressRecord, now: datetime) -> timedelta:
    """Return how long the record must wait for its turn: not at all with a new checkpoint, or at the end."""
    last = status.progress.last_report_time if status.progress else None
    known = {checkpoint.step for checkpoint in status.checkpoints or []}
    urgent = record.outcome is not None or any(checkpoint.step not in known for checkpoint in record.checkpoints)
    if last is None or urgent or last > now:
        return timedelta(0)
    return max(timedelta(0), last + WRITE_INTERVAL - now)


def fold(status: FineTuneJobStatus, record: ProgressRecord, received: datetime | None = None) -> FineTuneJobStatus:
    """Return the status with the record's figures; what the record leaves out stays as it was.

    `received` is the reader's time; without it the record's own time is noted.
    """
    training = record.progress
    own = training if training is not None and training.run is None else None  # an attempt counts the steps of the job's own run
    rate = _rate(own) if record.stage is Stage.TRAINING else None
    seen = {
        "last_step": own.step if own else None,
        "resumed_from_step": record.resumed_from_step,
        "peak_tokens_per_second": _peak(status, rate),
    }
    status = attempts.update(status, **{name: value for name, value in seen.items() if value is not None})
    return status.model_copy(
        update={
            "progress": _progress(status.progress, record, received or record.time, _slower_percent(status, rate)),
            "metrics": _metrics(status.metrics, record.metrics),
            "checkpoints": _checkpoints(record.checkpoints) or status.checkpoints,
            "model": ModelStatus(**record.model.model_dump()) if record.model else status.model,
            "continued_from": record.continued_from or status.continued_from,
            "output": OutputStatus(**record.output.model_dump()) if record.output else status.output,
            "warnings": [redact(warning)[:TEXT_MAX_LENGTH] for warning in record.warnings] or status.warnings,
            "report_cursor": str(Cursor(record.attempt, record.cluster, record.sequence)),
        }
    )


def _rate(own: TrainingProgress | None) -> float | None:
    """Return the tokens per second of the job's own training, if they are known."""
    rate = own.tokens_per_second if own is not None else None
    return rate if rate is not None and math.isfinite(rate) and rate > 0 else None


def _peak(status: FineTuneJobStatus, rate: float | None) -> str | None:
    """Return the highest rate of the newest attempt where `rate` is that, else None."""
    before = status.attempts[-1].peak_tokens_per_second if status.attempts else None
    return number(rate) if rate is not None and (before is None or rate > float(before)) else None


def _slower_percent(status: FineTuneJobStatus, rate: float | None) -> int | None:
    peaks = [float(attempt.peak_tokens_per_second) for attempt in status.attempts or [] if attempt.peak_tokens_per_second is not None]
    if rate is None or not peaks:
        return None
    percent = round(100 * (1 - rate / max(peaks)))
    return percent if percent >= SLOWER_PERCENT else None


def _progress(before: Progress | None, record: ProgressRecord, received: datetime, slower_percent: int | None) -> Progress:
    training = record.progress
    if training is None:
        passing = {"stage": record.stage.value, "last_report_time": received, "slower_percent": None}
        return (before or Progress()).model_copy(update=passing)
    return Progress(
        stage=record.stage.value,
        run=training.run,
        step=training.step,
        total_steps=training.total_steps,
        epoch=f"{training.epoch:.2f}" if math.isfinite(training.epoch) else None,
        percent=_percent(training),
        tokens_seen=training.tokens_seen,
        tokens_per_second=None if training.tokens_per_second is None else number(training.tokens_per_second),
        slower_percent=slower_percent,
        eta_seconds=_whole(training.eta_seconds),
        last_report_time=received,
    )


def _percent(training: TrainingProgress) -> int | None:
    """Return the share of steps done, rounded down: 100 means that all are."""
    return min(100, 100 * training.step // training.total_steps) if training.total_steps else None


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None or not math.isfinite(seconds) or seconds < 0 else min(round(seconds), 2**53)


def _metrics(before: MetricsStatus | None, metrics: Metrics) -> MetricsStatus | None:
    before = before or MetricsStatus()
    after = MetricsStatus(
        baseline=_as_texts(metrics.baseline) or before.baseline,
        latest=_as_texts(metrics.latest) or before.latest,
        best=_score(metrics.best) or before.best,
        score=_score(metrics.score) or before.score,
        final=_as_texts(metrics.final) or before.final,
        compared=_compared(metrics) or before.compared,
        generalization=_generalization(metrics.generalization) or before.generalization,
        adaptation=_adaptation(metrics.adaptation) or before.adaptation,
    )
    return None if after == MetricsStatus() else after


def _generalization(found: Generalization | None) -> GeneralizationStatus | None:
    if found is None:
        return None
    losses = {name: number(getattr(found, name)) for name in ("train_loss", "validation_loss", "gap")}
    return GeneralizationStatus(step=found.step, **losses)


def _adaptation(found: AdaptationFigures | None) -> AdaptationStatus | None:
    if found is None:
        return None
    figures = {name: number(value) for name, value in found.model_dump(exclude={"within_budget"}).items() if value is not None}
    return AdaptationStatus(**figures, within_budget=found.within_budget)


def _compared(metrics: Metrics) -> dict[str, str]:
    return {
        name.value: compared.words(name, metrics.baseline.get(name), metrics.final[name]) + _of_rows(compared.rows)
        for name, compared in metrics.compared.items()
        if name in metrics.final
    }


def _of_rows(rows: int | None) -> str:
    return "" if rows is None else f", {rows} row{'' if rows == 1 else 's'}"


def _as_texts(figures: Mapping[MetricName, float]) -> dict[str, str]:
    return {name.value: number(value) for name, value in figures.items()}


def _score(score: Score | None) -> ScoreStatus | None:
    if score is None:
        return None
    return ScoreStatus(metric=score.metric, value=number(score.value), direction=score.direction, step=score.step)


def _checkpoints(records: list[CheckpointRecord]) -> list[Checkpoint]:
    """Return one checkpoint per step, the last one reported, in the order of steps."""
    by_step = {record.step: record for record in records}
    return [Checkpoint(**{**record.model_dump(), "score": _score(record.score)}) for _, record in sorted(by_step.items())]


def number(value: float) -> str:
    """Return a figure as text: as many digits as mean something, never an exponent for ordinary sizes."""
    if not math.isfinite(value):
        return str(value)
    return str(round(value)) if abs(value) >= 10_000 and abs(value) < 1e15 else f"{value:.5g}"
