"""A report for tests of report and table: values that are easy to recognize."""

from datetime import UTC, datetime
from typing import Any

from finetune.api.metrics import MetricName, Score
from finetune.api.record import CheckpointRecord, ModelProvenance
from tests.builders import train_config
from trainer.evaluation.metrics.base import Figure
from trainer.reporting.report import DataCounts, RunResult, SampleAnswer, TrainingSummary, build_report

BASELINE = {
    MetricName.PERPLEXITY: Figure(20.0, "ppl", rows=40),
    MetricName.BITS_PER_BYTE: Figure(1.5, rows=40),
    MetricName.BLEU: Figure(2.0, "sig", "0-100", rows=30),
    MetricName.WER: Figure(0.8, rows=30),
}
FINAL = {
    MetricName.PERPLEXITY: Figure(8.0, "ppl", rows=40),
    MetricName.BITS_PER_BYTE: Figure(1.5, rows=40),
    MetricName.BLEU: Figure(12.5, "sig", "0-100", rows=30),
    MetricName.WER: Figure(1.2, rows=30),
}


def sample(number: int) -> SampleAnswer:
    return SampleAnswer(f"question {number}", f"reference {number}", f"base answer {number}", f"tuned answer {number}")


def report(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "model": ModelProvenance(name="org/model", source="folder /m", precision="float32", digest="sha256:0"),
        "data": DataCounts(train=300, validation=20, test=40),
        "training": TrainingSummary(
            steps=10,
            total_steps=12,
            epochs=2.0,
            tokens_seen=5000,
            seconds=12.5,
            world_size=2,
            trainable_parameters=123,
            peak_memory_bytes=2**30,
            train_loss=1.25,
        ),
        "baseline": BASELINE,
        "final": FINAL,
        "measured_step": 5,
        "judged_by": MetricName.PERPLEXITY,
        "evaluated_rows": 40,
        "generated_rows": 30,
        "samples": [sample(number) for number in range(5)],
        "checkpoints": [
            CheckpointRecord(
                step=10, uri="/o/step-10", size_bytes=7, created_time=datetime(2026, 1, 1, tzinfo=UTC), attempt=1, verified=True
            )
        ],
        "best": Score.of(MetricName.PERPLEXITY, 7.5, step=5),
        "exports": [{"form": "adapter", "path": "/o/model/adapter", "step": 5}],
        "hyperparameters": {"training": {"seed": 42}},
        "warnings": ["two rows were cut"],
    }
    for name in ("baseline", "final"):
        values[name] = {MetricName(metric): figure for metric, figure in (values | changes)[name].items()}
        changes.pop(name, None)
    return build_report(train_config(), RunResult(**(values | changes)))
