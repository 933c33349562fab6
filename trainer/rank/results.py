"""The results of a run: the exports of the model, and the report, which is written last because it marks the run as complete.

Every rank calls these functions in the same order; only rank 0 writes. Test: tests/trainer/rank/test_results.py.
"""

import json
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from finetune.api.metrics import MetricName
from finetune.api.record import CheckpointRecord, ModelProvenance, OutputRecord, Stage
from finetune.api.results import MODEL, REPORT, missing_results, read_report
from finetune.api.sections import Export
from trainer.engine.base import Engine
from trainer.evaluation.evaluator import SAMPLE_ANSWERS
from trainer.evaluation.measurement import Measurement
from trainer.model.beside import Origin
from trainer.model.exporter import Exported, TrainedTensors, base_dtype, export
from trainer.model.verification import PROBE_ROWS, Probe
from trainer.rank.assignment import Assignment
from trainer.rank.loading import Loaded
from trainer.rank.outbox import Outbox
from trainer.rank.resuming import Start
from trainer.rank.rows import Rows
from trainer.rank.training import validation_every
from trainer.reporting.hyperparameters import hyperparameters
from trainer.reporting.report import (
    DataCounts,
    RunResult,
    SampleAnswer,
    TrainingSummary,
    build_report,
    measured_step,
    metrics_of,
    with_exports,
)
from trainer.tasks.registry import task_of
from trainer.training.loop import Progress, StopReason


@dataclass(frozen=True)
class TrainedRun:
    """A run after training: the engine has the weights of `step`, which are the result."""

    work: Assignment
    loaded: Loaded
    rows: Rows
    start: Start
    """How this attempt began; training has updated its ledger and its count of words."""
    progress: Progress
    step: int


def existing_report(work: Assignment, engine: Engine, step: int) -> dict[str, Any] | None:
    """Return, on every rank, the report of a run that had finished before, if its figures are of the weights of `step`."""
    report = read_report(work.place) if work.only_results and engine.rank == 0 else None
    valid = report is not None and measured_step(report) == step
    found: dict[str, Any] | None = engine.broadcast(report if valid else None)
    return found


def add_exports(trained: TrainedRun, report: dict[str, Any], outbox: Outbox) -> None:
    """Write the exports that a finished run lacks, and add them to its report."""
    work, ledger, engine = trained.work, trained.start.ledger, trained.loaded.engine
    reported = metrics_of(report, work.config.task)
    ledger.note(baseline=reported.baseline, final=reported.final, score=reported.score or ledger.metrics.score)
    outbox.send(stage=Stage.EXPORTING, progress=trained.progress.to_record(), metrics=ledger.metrics)
    missing = missing_results(work.place, work.config.exports)
    written = export_forms(trained, [form for form in work.config.exports if f"{MODEL}/{form.value}" in missing])
    if engine.rank == 0:
        widened = with_exports(report, [done.to_wire() for done in written.forms])
        write_report(trained, widened | {"timings": work.clock.timings().to_wire()}, outbox)
    engine.broadcast(None)


def write_results(
    trained: TrainedRun, baseline: Measurement, final: Measurement, checkpoints: Sequence[CheckpointRecord], outbox: Outbox
) -> None:
    """Export the model and write the report; the report last, because it marks the run as complete."""
    outbox.send(stage=Stage.EXPORTING, metrics=trained.start.ledger.metrics, checkpoints=list(checkpoints))
    written = export_forms(trained, trained.work.config.exports)
    if trained.loaded.provenance is not None:
        result = result_of(trained, trained.loaded.provenance, baseline, final, written, checkpoints, outbox.warnings)
        write_report(trained, build_report(trained.work.config, result), outbox)
    trained.loaded.engine.broadcast(None)


def write_report(trained: TrainedRun, report: dict[str, Any], outbox: Outbox) -> None:
    """Write report.json, and send its URI to the driver."""
    work = trained.work
    work.place.put(REPORT, json.dumps(report, indent=1, ensure_ascii=False))
    output = OutputRecord(uri=work.place.uri(), report_uri=work.place.uri(REPORT))
    outbox.send(output=output, progress=trained.progress.to_record())


@dataclass(frozen=True)
class Written:
    """The exported forms of the model. Empty on ranks other than 0."""

    forms: Sequence[Exported] = ()
    trained_parameters: int = 0


def export_forms(trained: TrainedRun, forms: Sequence[Export]) -> Written:
    """Export the current model in the given forms, on rank 0. Every rank takes part."""
    loaded = trained.loaded
    probe, parameters = take_probe(loaded, trained.rows), loaded.engine.parameters()
    if loaded.provenance is None:
        return Written()
    config, dtype = trained.work.config, base_dtype(loaded.engine.model)
    family = task_of(config.task).objective.family
    origin = Origin(loaded.located, loaded.tokenizer, loaded.provenance, config.job.name, dtype, family)
    tensors = TrainedTensors.of(loaded.engine.model, parameters, trained.step)
    exported = export(tensors, origin, forms, trained.work.place.below(MODEL), probe)
    return Written(exported, sum(value.numel() for value in parameters.values()))


def take_probe(loaded: Loaded, rows: Rows) -> Probe:
    """Return the logits of the engine's model on a few rows, to compare the exports with; every rank takes part."""
    engine = loaded.engine
    engine.model.eval()
    asked = [row.input_ids for row in (*rows.test[:PROBE_ROWS], *(piece.tokens for piece in rows.train[:PROBE_ROWS]))]
    dtype = torch.bfloat16 if loaded.bfloat16 else torch.float32
    return Probe.take(lambda ids: engine.forward(input_ids=ids.to(engine.device), use_cache=False), asked, dtype)


def result_of(trained: TrainedRun, provenance: ModelProvenance, baseline: Measurement, final: Measurement, written: Written,
              checkpoints: Sequence[CheckpointRecord], warnings: Sequence[str]) -> RunResult:  # fmt: skip
    """Collect everything that the report is made from."""
    rows, config, dataset = trained.rows, trained.work.config, trained.work.inputs.dataset
    pieces = len(rows.train) if task_of(config.task).cuts else None
    every = validation_every(config, rows)
    return RunResult(
        model=provenance,
        data=DataCounts(len(dataset.train), len(dataset.validation), len(dataset.test), pieces),
        training=training_summary(trained, written.trained_parameters),
        baseline=baseline.figures,
        final=final.figures,
        measured_step=trained.step,
        evaluated_rows=len(dataset.test),
        generated_rows=len(final.predictions),
        cut_answers=(baseline.cut_answers, final.cut_answers),
        samples=sample_answers(baseline, final),
        augmentation=trained.start.words.to_report() if config.augmentation else None,
        checkpoints=checkpoints,
        best=trained.start.ledger.metrics.best,
        exports=[done.to_wire() for done in written.forms],
        hyperparameters=hyperparameters(config, bfloat16=trained.loaded.bfloat16, packed=trained.loaded.packed, validation_every=every),
        warnings=warnings,
        timings=trained.work.clock.timings(),
    )


def training_summary(trained: TrainedRun, trainable_parameters: int) -> TrainingSummary:
    """Summarize training for the report."""
    progress, advance = trained.progress, trained.progress.to_record()
    return TrainingSummary(
        steps=progress.step,
        epochs=advance.epoch,
        tokens_seen=progress.tokens_seen,
        seconds=progress.step_seconds,
        world_size=trained.loaded.engine.world_size,
        trainable_parameters=trainable_parameters,
        peak_memory_bytes=peak_memory_bytes(),
        peak_device_memory_bytes=peak_device_memory_bytes(trained.loaded.engine.device),
        train_loss=trained.start.ledger.metrics.latest.get(MetricName.TRAIN_LOSS),
        tokens_per_second=advance.tokens_per_second,
        resumed_from_step=trained.start.step,
        stopped_early=progress.stop_reason is StopReason.EARLY,
    )


def peak_memory_bytes(platform: str = sys.platform) -> int:
    """Return the most memory that this process had so far; getrusage(2) counts it in kilobytes, on macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform == "darwin" else peak * 1024


def peak_device_memory_bytes(device: torch.device) -> int | None:
    """Return the most memory that tensors of this process had on a GPU so far; None where the model is not on one."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def sample_answers(baseline: Measurement, final: Measurement) -> list[SampleAnswer]:
    """Pair the first answers of both models to the same prompts; at most `SAMPLE_ANSWERS`."""
    pairs = list(zip(baseline.predictions, final.predictions, strict=False))[:SAMPLE_ANSWERS]
    return [SampleAnswer(base.prompt, base.reference, base.answer, tuned.answer) for base, tuned in pairs]
