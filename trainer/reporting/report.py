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

from finetune.api.earlierjobs import ContinuedFrom
from finetune.api.evaluation import Generation
from finetune.api.metrics import METRICS, Compared, MetricFacts, MetricName, Score, score_of
from finetune.api.record import CheckpointRecord, Metrics, ModelProvenance
from finetune.api.timings import Timings
from finetune.api.trainconfig import TrainConfig
from trainer.evaluation.bootstrap import Interval
from trainer.evaluation.comparison import Certainty, Comparison, Difference, Part, certainty_of
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.metrics.base import Figure
from trainer.reporting.adaptation import Adapted, adaptation_figures

SCHEMA_VERSION = 5
PACKAGES = ("torch", "transformers", "peft", "deepspeed", "ray", "datasets", "sacrebleu", "jiwer")


@dataclass(frozen=True)
class DataCounts:
    """Rows of each side after checks, deduplication and split."""

    train: int
    validation: int
    test: int
    train_pieces: int | None = None
    """For texts, the number of pieces of the training rows: epochs and steps count pieces."""
    sources: Sequence[Mapping[str, str]] = ()
    """Where they came from, as `sources_of` of trainer/reporting/sources.py says it."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """sha256 of what the rows of each side hold, by its field, such as data.train."""

    def to_wire(self) -> dict[str, Any]:
        """Return them as in report.json; `trainPieces` only for texts."""
        pieces = {} if self.train_pieces is None else {"trainPieces": self.train_pieces}
        beside = {"sources": [dict(source) for source in self.sources], "digests": dict(self.digests)}
        return {"train": self.train, "validation": self.validation, "test": self.test, **pieces, **beside}


@dataclass(frozen=True)
class TrainingSummary:
    """Summary of training. `seconds` is the time in training steps of this attempt; tokens are of all ranks."""

    steps: int
    total_steps: int
    """Steps that were planned: more than `steps` where training stopped early."""
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
    repeated_steps: int = 0
    """How often a step was computed again because its gradient had overflowed float16."""
    loss_scale: float | None = None
    """The last one, under float16."""


@dataclass(frozen=True)
class SampleAnswer:
    """One test prompt with its reference and the answers of both models."""

    prompt: str
    reference: str
    base: str
    tuned: str


@dataclass(frozen=True)
class RunResult:
    """The result of a run. `baseline` and `final` use the same rows: all test rows, but only some of them for generated text."""

    model: ModelProvenance
    data: DataCounts
    training: TrainingSummary
    baseline: Mapping[MetricName, Figure]
    final: Mapping[MetricName, Figure]
    measured_step: int
    """The step of the weights that `final` was measured on."""
    judged_by: MetricName
    evaluated_rows: int
    generated_rows: int
    """Those that an answer was written to; none where answers are parts of a text."""
    comparison: Comparison = field(default_factory=Comparison)
    """How certain the figures are."""
    cut_answers: tuple[int, int] = (0, 0)
    """Number of answers of base and tuned model that reached the token limit before their end."""
    samples: Sequence[SampleAnswer] = ()
    predictions: Mapping[str, Any] | None = None
    """Path and number of rows of predictions.jsonl; None if no row was asked anything that people can read."""
    measurement: Mapping[str, Any] | None = None
    """Path and size of measurement.json; None without test rows."""
    unchanged: Measurement | None = None
    """Of tasks that improve a text: the text metrics of the rows as they were given."""
    augmentation: Mapping[str, Any] | None = None
    adapted: Adapted | None = None
    """Of a job that adapts to a domain."""
    corpus: Mapping[str, Any] | None = None
    """Of a job that learned a corpus before its task: its domainAdaptation, as in trainer/reporting/corpus.py."""
    checkpoints: Sequence[CheckpointRecord] = ()
    best: Score | None = None
    early_stopping: Mapping[str, Any] | None = None
    """Of trainer/reporting/steering.py; None for a job without it."""
    generalization: Mapping[str, Any] | None = None
    """Likewise; None without validation rows."""
    exports: Sequence[Mapping[str, Any]] = ()
    """Each with form, path, the step of its weights, and the distance of its logits from those of the evaluated model."""
    weights: Mapping[str, Any] = field(default_factory=dict)
    """Of the model's weights: whether they are random, which are new, and which of the files are not used."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    """The settings that took effect, including the seed."""
    continued: ContinuedFrom | None = None
    """The run that this one went on from."""
    warnings: Sequence[str] = ()
    timings: Timings | None = None


def build_report(config: TrainConfig, result: RunResult) -> dict[str, Any]:
    """Return the report of a run as a JSON value: nan and infinity become None."""
    baseline, final = result.baseline, result.final
    return {
        "schemaVersion": SCHEMA_VERSION,
        "job": config.job.to_wire() | {"task": config.task.value},
        "model": result.model.to_wire() | dict(result.weights),
        "continuedFrom": result.continued.to_wire() if result.continued is not None else None,
        "data": result.data.to_wire(),
        "method": config.method.to_wire(),
        "hyperparameters": dict(result.hyperparameters),
        "training": _training(result.training),
        "rows": {"evaluated": result.evaluated_rows, "generated": result.generated_rows},
        "answers": _answers(config, result) if result.generated_rows else None,
        "baseline": figures_to_wire(baseline, result.comparison.base),
        "final": figures_to_wire(final, result.comparison.tuned),
        "unchanged": figures_to_wire(result.unchanged.figures, certainty_of(result.unchanged)) if result.unchanged else None,
        "measuredStep": result.measured_step,
        "judgedBy": result.judged_by.value,
        "change": {
            name: change_to_wire(
                baseline[name], final[name], result.comparison.difference.get(name), result.comparison.by_source.get(name, {})
            )
            for name in baseline
            if name in final
        },
        "best": result.best.to_wire() if result.best else None,
        "earlyStopping": dict(result.early_stopping) if result.early_stopping is not None else None,
        "generalization": dict(result.generalization) if result.generalization is not None else None,
        "samples": [{"prompt": s.prompt, "reference": s.reference, "base": s.base, "tuned": s.tuned} for s in result.samples],
        "predictions": dict(result.predictions) if result.predictions is not None else None,
        "measurement": dict(result.measurement) if result.measurement is not None else None,
        "augmentation": dict(result.augmentation) if result.augmentation is not None else None,
        "domainAdaptation": _adaptation(result),
        "checkpoints": [checkpoint.to_wire() for checkpoint in result.checkpoints],
        "exports": [dict(export) for export in result.exports],
        "warnings": list(result.warnings),
        "timings": result.timings.to_wire() if result.timings else None,
        "versions": versions(),
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


def metrics_of(report: Mapping[str, Any]) -> Metrics:
    """Return the figures of a report as those of a progress record; the score is that of the final model."""
    baseline, final = (_values(report[name]) for name in ("baseline", "final"))
    step = measured_step(report)
    metric = MetricName(report.get("judgedBy", MetricName.PERPLEXITY))  # an earlier schema named none: there was one for all
    score = None if step is None else score_of(final, metric, step)
    return Metrics(baseline=baseline, final=final, best=report["best"], score=score, compared=_compared(report),
                   adaptation=adaptation_figures(report.get("domainAdaptation")))  # fmt: skip


def _adaptation(result: RunResult) -> dict[str, Any] | None:
    if result.corpus is not None:  # for whose run the section was meant
        return dict(result.corpus)
    return result.adapted.to_wire() if result.adapted is not None else None


def _compared(report: Mapping[str, Any]) -> dict[MetricName, Compared]:
    return {
        MetricName(name): Compared(
            interval=figure.get("interval"), verdict=report["change"].get(name, {}).get("verdict"), rows=figure.get("rows")
        )
        for name, figure in report["final"].items()
        if figure["value"] is not None
    }


def _values(figures: Mapping[str, Any]) -> dict[MetricName, float]:
    return {MetricName(name): figure["value"] for name, figure in figures.items() if figure["value"] is not None}


def _training(training: TrainingSummary) -> dict[str, Any]:
    return {
        "steps": training.steps,
        "totalSteps": training.total_steps,
        "epochs": training.epochs,
        "tokensSeen": training.tokens_seen,
        "seconds": training.seconds,
        "worldSize": training.world_size,
        "trainableParameters": training.trainable_parameters,
        "trainLoss": _finite(training.train_loss),
        "tokensPerSecond": _finite(training.tokens_per_second),
        "resumedFromStep": training.resumed_from_step,
        "stoppedEarly": training.stopped_early,
        "repeatedSteps": training.repeated_steps,
        "lossScale": training.loss_scale,
        "peakMemoryBytes": training.peak_memory_bytes,
        "peakDeviceMemoryBytes": training.peak_device_memory_bytes,
    }


def _answers(config: TrainConfig, result: RunResult) -> dict[str, Any]:
    """Return the number and share of each model's answers that the token limit cut."""
    limit = (config.evaluation.generation or Generation()).max_new_tokens
    counts = zip(("baseline", "final"), result.cut_answers, strict=True)
    return {"maxNewTokens": limit} | {name: {"cut": cut, "cutShare": cut / result.generated_rows} for name, cut in counts}


def figures_to_wire(named: Mapping[MetricName, Figure], certainty: Mapping[MetricName, Certainty]) -> dict[str, dict[str, Any]]:
    """Return figures as in report.json: value, scale, direction, rows, 95 % interval, signature, and what belongs to the metric."""
    return {name: _figure(METRICS[name], figure, certainty.get(name, Certainty())) for name, figure in named.items()}


def _figure(facts: MetricFacts, figure: Figure, certainty: Certainty) -> dict[str, Any]:
    value = _finite(figure.value)
    described = {
        "value": value,
        "interval": _interval(certainty.interval),
        "noInterval": certainty.no_interval,
        "scale": str(facts.scale),
        "fraction": facts.scale.fraction(value) if value is not None else None,
        "direction": facts.direction.value,
        "rows": figure.rows,
        "signature": figure.signature,
        "unit": figure.unit,
        "reason": figure.reason,
        **figure.details,
        "sources": _parts(certainty.sources),
        "groups": _parts(certainty.groups),
    }
    return {key: value for key, value in described.items() if value is not None or key == "value"}


def _parts(parts: Mapping[str, Part]) -> dict[str, Any] | None:
    found = {name: {"value": part.value, "interval": _interval(part.interval), "rows": part.rows} for name, part in parts.items()}
    return found or None


def _interval(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def change_to_wire(
    base: Figure, tuned: Figure, found: Difference | None, by_source: Mapping[str, Difference] | None = None
) -> dict[str, Any]:
    """Return the difference tuned - base, the ratio tuned / base where it is defined, and what the rows show of the difference."""
    if base.value is None or tuned.value is None:
        return {"difference": None, "ratio": None}
    ratio = tuned.value / base.value if base.value and math.isfinite(base.value) else None
    change: dict[str, Any] = {"difference": _finite(tuned.value - base.value), "ratio": _finite(ratio)}
    if found is not None:
        change |= _difference(found)
    if by_source:
        change["sources"] = {source: _difference(difference) for source, difference in by_source.items()}
    return change


def _difference(found: Difference) -> dict[str, Any]:
    return {"interval": _interval(found.interval), "pValue": found.p_value, "verdict": found.verdict.value}


def _finite(value: float | None) -> float | None:
    """Return None for nan and infinity, which are not valid JSON."""
    return value if value is not None and math.isfinite(value) else None


def versions() -> dict[str, str]:
    """Return the versions of Python and of what computed the figures."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
