"""Builds progress records for the tests of the command."""

from datetime import UTC, datetime
from typing import Any

from finetune.api.metrics import MetricName, Score
from finetune.api.record import CheckpointRecord, Metrics, ProgressRecord, Stage, TrainingProgress

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def record(stage: Stage = Stage.TRAINING, *, step: int | None = None, sequence: int = 1, **fields: Any) -> ProgressRecord:
    progress = None
    if step is not None:
        progress = TrainingProgress(step=step, total_steps=10, epoch=0.5, tokens_seen=100, tokens_per_second=1234.5, eta_seconds=61.2)
    return ProgressRecord(attempt=1, sequence=sequence, time=NOON, stage=stage, progress=progress, **fields)


def checkpoint(step: int, **fields: Any) -> CheckpointRecord:
    content = {"uri": "/out", "size_bytes": 2_000_000, "created_time": NOON, "attempt": 1, "verified": True, **fields}
    return CheckpointRecord(step=step, **content)


def losing(loss: float) -> Metrics:
    return Metrics(latest={MetricName.TRAIN_LOSS: loss})


def validated(step: int, perplexity: float) -> Metrics:
    score = Score.of(MetricName.PERPLEXITY, perplexity, step)
    return Metrics(latest={MetricName.PERPLEXITY: perplexity}, validated=score, score=score)
