"""The results of a run: the model in the forms that are wanted, and the report, which comes last because it says that all is done.

Every rank calls these functions in the same order; rank 0 alone writes. Test: tests/trainer/rank/test_results.py.
"""

import json
import resource
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from finetune.api.metrics import MetricName, score_of
from finetune.api.record import ModelProvenance, OutputRecord, Stage
from finetune.api.results import MODEL, REPORT, missing_results, read_report
from finetune.api.sections import Export
from finetune.api.tasks import TASKS, TaskName
from finetune.system.files import write_atomically
from trainer.evaluation.evaluator import SAMPLE_ANSWERS, Measurement
from trainer.model.beside import Origin
from trainer.model.exporter import Exported, Trained, base_dtype, export
from trainer.model.verification import PROBE_ROWS, Probe
from trainer.rank.hooks import EARLY_STOP
from trainer.reporting.hyperparameters import hyperparameters
from trainer.reporting.report import DataCounts, RunResult, SampleAnswer, TrainingSummary, build_report, measured_step, with_exports
from trainer.training.loop import Progress

if TYPE_CHECKING:
    from trainer.rank.run import Run


def reported(run: "Run", step: int) -> dict[str, Any] | None:
    """Return the report of a run that was finished before, when its figures are of the weights of `step`: then it stands."""
    report = read_report(run.directory) if run.trained else None
    return report if report is not None and measured_step(report) == step else None


def add_exports(run: "Run", step: int, progress: Progress) -> None:
    """Write the forms of the model that a finished run lacks, and enter them in its report."""
    report = reported(run, step)
    if report is not None:
        final = {MetricName(name): entry["value"] for name, entry in report["final"].items() if entry["value"] is not None}
        run.ledger.note(final=final, score=score_of(final, TASKS[run.config.task].score, step) or run.ledger.metrics.score)
    run.send(stage=Stage.EXPORTING, progress=progress.to_record(), metrics=run.ledger.metrics)
    missing = missing_results(run.directory, run.config.exports)
    exports, _ = _export(run, step, [form for form in run.config.exports if f"{MODEL}/{form.value}" in missing])
    if run.engine.rank == 0 and report is not None:
        _write_report(run, with_exports(report, [done.to_wire() for done in exports]), progress)
    run.engine.broadcast(None)


def write_results(run: "Run", step: int, progress: Progress, baseline: Measurement, final: Measurement) -> None:
    """Export the weights of `step` and write the report; the report last, because it says that all is done."""
    exports, trained_parameters = _export(run, step, run.config.exports)
    if run.engine.rank == 0 and run.provenance is not None:
        _write_report(run, _report(run, run.provenance, step, progress, baseline, final, exports, trained_parameters), progress)
    run.engine.broadcast(None)


def _write_report(run: "Run", report: dict[str, Any], progress: Progress) -> None:
    """Write report.json, and send where it is."""
    write_atomically(run.directory / REPORT, json.dumps(report, indent=1, ensure_ascii=False))
    run.send(output=OutputRecord(uri=run.uri, report_uri=f"{run.uri.rstrip('/')}/{REPORT}"), progress=progress.to_record())


def _export(run: "Run", step: int, forms: Sequence[Export]) -> tuple[list[Exported], int]:
    """Write forms of the model as it is, on rank 0, and return them with the number of trained parameters."""
    probe, parameters = _probe(run), run.engine.parameters()
    if run.provenance is None:
        return [], 0
    origin = Origin(run.located, run.tokenizer, run.provenance, run.config.job.name, base_dtype(run.engine.model))
    written = export(Trained.of(run.engine.model, parameters, step), origin, forms, run.directory / MODEL, probe)
    return written, sum(value.numel() for value in parameters.values())


def _probe(run: "Run") -> Probe:
    """Return what the engine's model answers to a few rows, for the exports to be held against; every rank takes part."""
    run.engine.model.eval()
    rows = [row.input_ids for row in (*run.test_rows, *(piece.tokens for piece in run.train_pieces[:PROBE_ROWS]))]
    dtype = torch.bfloat16 if run.bfloat16 else torch.float32
    return Probe.take(lambda ids: run.engine.forward(input_ids=ids.to(run.engine.device), use_cache=False), rows, dtype)


def _report(run: "Run", provenance: ModelProvenance, step: int, progress: Progress, baseline: Measurement, final: Measurement,
           exports: Sequence[Exported], trained_parameters: int) -> dict[str, Any]:  # fmt: skip
    """Return the content of report.json."""
    dataset, advance, first = run.inputs.dataset, progress.to_record(), run.ledger.metrics.latest
    summary = TrainingSummary(
        steps=progress.step,
        epochs=advance.epoch,
        tokens_seen=progress.tokens_seen,
        seconds=progress.step_seconds,
        world_size=run.engine.world_size,
        trainable_parameters=trained_parameters,
        train_loss=first.get(MetricName.TRAIN_LOSS),
        tokens_per_second=advance.tokens_per_second,
        resumed_from_step=run.resumed_from_step,
        stopped_early=progress.stop_reason == EARLY_STOP,
    )
    samples = [
        SampleAnswer(base.prompt, base.reference, base.answer, tuned.answer)
        for base, tuned in list(zip(baseline.answers, final.answers, strict=False))[:SAMPLE_ANSWERS]
    ]
    share = {"wordsChanged": run.words_changed, "words": run.words_seen, "changedShare": run.words_changed / max(1, run.words_seen)}
    pieces = None if run.config.task is TaskName.CHAT else len(run.train_pieces)
    result = RunResult(
        model=provenance,
        data=DataCounts(len(dataset.train), len(dataset.validation), len(dataset.test), pieces),
        training=summary,
        baseline=baseline.named(),
        final=final.named(),
        measured_step=step,
        evaluated_rows=len(dataset.test),
        generated_rows=len(final.answers),
        cut_answers=(baseline.cut_answers, final.cut_answers),
        samples=samples,
        augmentation=share if run.augmenter else None,
        checkpoints=run.store.records,
        best=run.ledger.metrics.best,
        exports=[export.to_wire() for export in exports],
        hyperparameters=hyperparameters(run.config, bfloat16=run.bfloat16, validation_every=run.validation_every(progress)),
        warnings=run.warnings,
    )
    report = build_report(run.config, result)
    report["training"]["peakMemoryBytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return report
