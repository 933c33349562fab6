"""report.json: what a run trained, on what, and how the tuned model compares with the base on the same rows.

Pure: values in, one JSON document out. Its form is part of the product; SCHEMA_VERSION rises when a reader must change.
Test: tests/trainer/reporting/test_report.py.
"""

import importlib.metadata
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.api.metrics import MetricName, Score
from finetune.api.record import CheckpointRecord, ModelProvenance
from finetune.api.sections import Generation
from finetune.api.trainconfig import TrainConfig
from trainer.evaluation.metrics.base import Figure

SCHEMA_VERSION = 3
PACKAGES = ("torch", "transformers", "peft", "deepspeed", "ray", "datasets", "sacrebleu", "jiwer")


@dataclass(frozen=True)
class DataCounts:
    """Rows of each side after validation, removal of duplicates and split."""

    train: int
    validation: int
    test: int
    train_pieces: int | None = None
    """Of texts, the pieces that the training rows were cut into: what an epoch and a step count."""

    def to_wire(self) -> dict[str, int]:
        """Return the counts as the report has them."""
        pieces = {} if self.train_pieces is None else {"trainPieces": self.train_pieces}
        return {"train": self.train, "validation": self.validation, "test": self.test, **pieces}


@dataclass(frozen=True)
class TrainingSummary:
    """What training did. `seconds` is the time in training steps of this attempt; tokens count over all ranks."""

    steps: int
    epochs: float
    tokens_seen: int
    seconds: float
    world_size: int
    trainable_parameters: int
    train_loss: float | None = None
    tokens_per_second: float | None = None
    resumed_from_step: int = 0
    stopped_early: bool = False


@dataclass(frozen=True)
class SampleAnswer:
    """One test prompt, what the row says, and what both models say."""

    prompt: str
    reference: str
    base: str
    tuned: str


@dataclass(frozen=True)
class RunResult:
    """The outcome of a run. `baseline` and `final` are of the same rows: generated text of the first ones, all else of all test rows."""

    model: ModelProvenance
    data: DataCounts
    training: TrainingSummary
    baseline: Mapping[MetricName, Figure]
    final: Mapping[MetricName, Figure]
    measured_step: int
    """The step of the weights that `final` is of."""
    evaluated_rows: int
    generated_rows: int
    cut_answers: tuple[int, int] = (0, 0)
    """Answers of base and tuned model that reached the limit of tokens before their end."""
    samples: Sequence[SampleAnswer] = ()
    augmentation: Mapping[str, Any] | None = None
    checkpoints: Sequence[CheckpointRecord] = ()
    best: Score | None = None
    exports: Sequence[Mapping[str, Any]] = ()
    """Each with form, path, the step of its weights, and how far its logits are from those of the model that was measured."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    """The settings as they took effect, the seed among them."""
    warnings: Sequence[str] = ()


def build_report(config: TrainConfig, result: RunResult) -> dict[str, Any]:
    """Return the report of a run, ready for JSON."""
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
        "versions": _versions(),
    }


def with_exports(report: Mapping[str, Any], exports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the report with further exports entered; each replaces an earlier one of its form.

    `measured` is false in an entry whose weights are not those that the report's figures are of.
    """
    forms, step = {export["form"] for export in exports}, measured_step(report)
    marked = [dict(export) | ({} if step == export["step"] else {"measured": False}) for export in exports]
    entered = [*(export for export in report["exports"] if export["form"] not in forms), *marked]
    return {**report, "exports": sorted(entered, key=lambda export: str(export["form"]))}


def measured_step(report: Mapping[str, Any]) -> int | None:
    """Return the step of the weights that a report's `final` is of; None where the report does not say."""
    step = report.get("measuredStep")
    return step if isinstance(step, int) else None


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
    }


def _answers(config: TrainConfig, result: RunResult) -> dict[str, Any]:
    """Return how many answers of each model the limit of tokens cut."""
    limit = (config.evaluation.generation or Generation()).max_new_tokens
    counts = zip(("baseline", "final"), result.cut_answers, strict=True)
    return {"maxNewTokens": limit} | {name: {"cut": cut, "cutShare": cut / result.generated_rows} for name, cut in counts}


def _figures(named: Mapping[MetricName, Figure]) -> dict[str, dict[str, Any]]:
    return {name: _figure(figure) for name, figure in named.items()}


def _figure(figure: Figure) -> dict[str, Any]:
    described = {"value": _finite(figure.value), "signature": figure.signature, "unit": figure.unit, "reason": figure.reason}
    return {key: value for key, value in described.items() if value is not None or key == "value"}


def _change(base: Figure, tuned: Figure) -> dict[str, float | None]:
    """Return the difference tuned - base, and the quotient tuned / base where it is defined."""
    if base.value is None or tuned.value is None:
        return {"difference": None, "ratio": None}
    ratio = tuned.value / base.value if base.value and math.isfinite(base.value) else None
    return {"difference": _finite(tuned.value - base.value), "ratio": _finite(ratio)}


def _finite(value: float | None) -> float | None:
    """Return None for nan and infinity, which JSON does not have."""
    return value if value is not None and math.isfinite(value) else None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
