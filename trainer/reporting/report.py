"""report.json: what a run trained, on which data, and how the tuned model compares with the base on the same rows.

Pure: values in, one JSON document out. Its schema is public; SCHEMA_VERSION increases when readers must change.
Test: tests/trainer/reporting/test_report.py.
"""

import importlib.metadata
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.api.metrics import MetricName, Score, score_of
from finetune.api.record import CheckpointRecord, Metrics, ModelProvenance
from finetune.api.sections import Generation
from finetune.api.tasks import TASKS, TaskName
from finetune.api.timings import Timings
from finetune.api.trainconfig import TrainConfig
from trainer.evaluation.metrics.base import Figure

SCHEMA_VERSION = 3
PACKAGES = ("torch", "transformers", "peft", "deepspeed", "ray", "datasets", "sacrebleu", "jiwer")


@dataclass(frozen=True)
class DataCounts:
    """Rows of each side after checks, deduplication and split."""

    train: int
    validation: int
    test: int
    train_pieces: int | None = None
    """For texts, the number of pieces of the training rows: epochs and steps count pieces."""

    def to_wire(self) -> dict[str, int]:
        """Return the counts as in report.json; `trainPieces` only for texts."""
        pieces = {} if self.train_pieces is None else {"trainPieces": self.train_pieces}
        return {"train": self.train, "validation": self.validation, "test": self.test, **pieces}


@dataclass(frozen=True)
class TrainingSummary:
    """Summary of training. `seconds` is the time in training steps of this attempt; tokens are of all ranks."""

    steps: int
    epochs: float
    tokens_seen: int
    seconds: float
    world_size: int
    trainable_parameters: int
    peak_memory_bytes: int
    """The most memory of the host that rank 0 had, from its start on."""
    peak_device_memory_bytes: int | None = None
    """The most memory that rank 0's tensors had on its GPU; None without one."""
    train_loss: float | None = None
    tokens_per_second: float | None = None
    resumed_from_step: int = 0
    stopped_early: bool = False


@dataclass(frozen=True)
class SampleAnswer:
    """One test prompt with its reference and the answers of both models."""

    prompt: str
    reference: str
    base: str
    tuned: str


@dataclass(frozen=True)
class RunResult:
    """The result of a run. `baseline` and `final` use the same rows: all test rows, but only the first ones for generated text."""

    model: ModelProvenance
    data: DataCounts
    training: TrainingSummary
    baseline: Mapping[MetricName, Figure]
    final: Mapping[MetricName, Figure]
    measured_step: int
    """The step of the weights that `final` was measured on."""
    evaluated_rows: int
    generated_rows: int
    cut_answers: tuple[int, int] = (0, 0)
    """Number of answers of base and tuned model that reached the token limit before their end."""
    samples: Sequence[SampleAnswer] = ()
    augmentation: Mapping[str, Any] | None = None
    checkpoints: Sequence[CheckpointRecord] = ()
    best: Score | None = None
    exports: Sequence[Mapping[str, Any]] = ()
    """Each with form, path, the step of its weights, and the distance of its logits from those of the evaluated model."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    """The settings that took effect, including the seed."""
    warnings: Sequence[str] = ()
    timings: Timings | None = None


def build_report(config: TrainConfig, result: RunResult) -> dict[str, Any]:
    """Return the report of a run as a JSON value: nan and infinity become None."""
    baseline, final = result.baseline, result.final
    return {
        "schemaVersion": SCHEMA_VERSION,
        "job": config.job.to_wire() | {"task": config.task.value},
        "model": result.model.to_wire(),
        "data": result.data.to_wire(),
        "method": config.method.to_wire(),
        "hyperparameters": dict(result.hyperparameters),
        "training": _training(result.training),
        "rows": {"evaluated": result.evaluated_rows, "generated": result.generated_rows},
        "answers": _answers(config, result) if result.generated_rows else None,
        "baseline": _figures(baseline),
        "final": _figures(final),
        "measuredStep": result.measured_step,
        "change": {name: _change(baseline[name], final[name]) for name in baseline if name in final},
        "best": result.best.to_wire() if result.best else None,
        "samples": [{"prompt": s.prompt, "reference": s.reference, "base": s.base, "tuned": s.tuned} for s in result.samples],
        "augmentation": dict(result.augmentation) if result.augmentation is not None else None,
        "checkpoints": [checkpoint.to_wire() for checkpoint in result.checkpoints],
        "exports": [dict(export) for export in result.exports],
        "warnings": list(result.warnings),
        "timings": result.timings.to_wire() if result.timings else None,
        "versions": _versions(),
    }


def with_exports(report: Mapping[str, Any], exports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the report with more exports; each replaces an earlier one of the same form.

    An entry has `measured: false` if the report's figures were not measured on its weights.
    """
    forms, step = {export["form"] for export in exports}, measured_step(report)
    marked = [dict(export) | ({} if step == export["step"] else {"measured": False}) for export in exports]
    entered = [*(export for export in report["exports"] if export["form"] not in forms), *marked]
    return {**report, "exports": sorted(entered, key=lambda export: str(export["form"]))}


def measured_step(report: Mapping[str, Any]) -> int | None:
    """Return the step of the weights that a report's `final` was measured on; None if the report does not say."""
    step = report.get("measuredStep")
    return step if isinstance(step, int) else None


def metrics_of(report: Mapping[str, Any], task: TaskName) -> Metrics:
    """Return the figures of a report as those of a progress record; the score is that of the final model."""
    baseline, final = (_values(report[name]) for name in ("baseline", "final"))
    step = measured_step(report)
    score = None if step is None else score_of(final, TASKS[task].score, step)
    return Metrics(baseline=baseline, final=final, best=report["best"], score=score)


def _values(figures: Mapping[str, Any]) -> dict[MetricName, float]:
    return {MetricName(name): figure["value"] for name, figure in figures.items() if figure["value"] is not None}


def _training(training: TrainingSummary) -> dict[str, Any]:
    return {
        "steps": training.steps,
        "epochs": training.epochs,
        "tokensSeen": training.tokens_seen,
        "seconds": training.seconds,
        "worldSize": training.world_size,
        "trainableParameters": training.trainable_parameters,
        "trainLoss": _finite(training.train_loss),
        "tokensPerSecond": _finite(training.tokens_per_second),
        "resumedFromStep": training.resumed_from_step,
        "stoppedEarly": training.stopped_early,
        "peakMemoryBytes": training.peak_memory_bytes,
        "peakDeviceMemoryBytes": training.peak_device_memory_bytes,
    }


def _answers(config: TrainConfig, result: RunResult) -> dict[str, Any]:
    """Return the number and share of each model's answers that the token limit cut."""
    limit = (config.evaluation.generation or Generation()).max_new_tokens
    counts = zip(("baseline", "final"), result.cut_answers, strict=True)
    return {"maxNewTokens": limit} | {name: {"cut": cut, "cutShare": cut / result.generated_rows} for name, cut in counts}


def _figures(named: Mapping[MetricName, Figure]) -> dict[str, dict[str, Any]]:
    return {name: _figure(figure) for name, figure in named.items()}


def _figure(figure: Figure) -> dict[str, Any]:
    described = {"value": _finite(figure.value), "signature": figure.signature, "unit": figure.unit, "reason": figure.reason}
    return {key: value for key, value in described.items() if value is not None or key == "value"}


def _change(base: Figure, tuned: Figure) -> dict[str, float | None]:
    """Return the difference tuned - base, and the ratio tuned / base where it is defined."""
    if base.value is None or tuned.value is None:
        return {"difference": None, "ratio": None}
    ratio = tuned.value / base.value if base.value and math.isfinite(base.value) else None
    return {"difference": _finite(tuned.value - base.value), "ratio": _finite(ratio)}


def _finite(value: float | None) -> float | None:
    """Return None for nan and infinity, which are not valid JSON."""
    return value if value is not None and math.isfinite(value) else None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
