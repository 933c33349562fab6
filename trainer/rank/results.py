"""The results of a run: the exports of the model, and the report, which is written last because it marks the run as complete.

Every rank calls these functions in the same order; only rank 0 writes. Test: tests/trainer/rank/test_results.py.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from finetune.api.record import CheckpointRecord, OutputRecord, Stage
from finetune.api.results import KEPT, MEASUREMENT, MODEL, PREDICTIONS, REPORT, missing_results, read_report
from finetune.api.sections import Export
from finetune.api.timings import TimedStage
from trainer.engine.base import Engine
from trainer.engine.precision import DTYPES, exact_products
from trainer.engine.state import PARAMETERS
from trainer.model.beside import Origin
from trainer.model.exporter import Exported, TrainedTensors, base_dtype, export
from trainer.model.quantization import quantization_of
from trainer.model.verification import PROBE_ROWS, Probe
from trainer.objectives.family import Family
from trainer.rank.assignment import Assignment
from trainer.rank.basefigures import measured_of
from trainer.rank.loading import Loaded
from trainer.rank.measuring import Measuring
from trainer.rank.outbox import Outbox
from trainer.rank.rows import Rows
from trainer.rank.summary import TestFigures, TrainedRun, figures_only, result_of, training_summary
from trainer.reporting.predictions import json_lines, predictions_of
from trainer.reporting.report import build_report, measured_step, metrics_of, with_exports
from trainer.reporting.sources import languages_in, pairs_in, sources_of
from trainer.storage.manifest import checkpoint_name
from trainer.storage.tensors import SavedTensors


def existing_report(work: Assignment, engine: Engine, step: int) -> dict[str, Any] | None:
    """Return, on every rank, the report of a run that had finished before, if its figures are of the weights of `step`.

    Not where predictions.jsonl was deleted since, or measurement.json, which control runs need: models have to answer again for them,
    and are measured again with that.
    """
    report = read_report(work.place) if work.only_results and engine.rank == 0 else None
    lacking = missing_results(work.place, (), to_compare=bool(work.config.evaluation.ablations))
    valid = report is not None and measured_step(report) == step and not set(KEPT.values()) & set(lacking)
    found: dict[str, Any] | None = engine.broadcast(report if valid else None)
    return found


def add_exports(trained: TrainedRun, report: dict[str, Any], outbox: Outbox) -> None:
    """Write the exports that a finished run lacks, and add them to its report."""
    work, ledger, engine = trained.work, trained.start.ledger, trained.loaded.engine
    reported = metrics_of(report)
    ledger.note(
        baseline=reported.baseline,
        final=reported.final,
        compared=reported.compared,
        adaptation=reported.adaptation,
        score=reported.score or ledger.metrics.score,
    )
    outbox.send(stage=Stage.EXPORTING, progress=trained.progress.to_record(), metrics=ledger.metrics)
    missing = missing_results(work.place, work.config.exports)
    exported = export_forms(trained, [form for form in work.config.exports if f"{MODEL}/{form.value}" in missing], report)
    if engine.rank == 0:
        widened = with_exports(report, [done.to_wire() for done in exported])
        write_report(trained, widened | {"timings": work.clock.timings().to_wire()}, outbox)
    engine.broadcast(None)


def write_results(trained: TrainedRun, figures: TestFigures, checkpoints: Sequence[CheckpointRecord], outbox: Outbox) -> None:
    """Write the answers, the model with its card, and the report; the report last, because it marks the run as complete."""
    config, provenance = trained.work.config, trained.loaded.provenance
    outbox.send(stage=Stage.EXPORTING, metrics=trained.start.ledger.metrics, checkpoints=list(checkpoints))
    result = None
    if provenance is not None:
        measurement, predictions = write_measurement(trained, figures), write_predictions(trained, figures)
        result = replace(result_of(trained, provenance, figures, predictions, checkpoints), measurement=measurement)
    exported = export_forms(trained, config.exports, {} if result is None else build_report(config, result))
    if result is not None:
        forms, clock = [done.to_wire() for done in exported], trained.work.clock
        whole = replace(result, training=training_summary(trained), exports=forms, warnings=outbox.warnings, timings=clock.timings())
        write_report(trained, build_report(config, whole), outbox)
    trained.loaded.engine.broadcast(None)


def write_base(trained: TrainedRun, measuring: Measuring, outbox: Outbox) -> None:
    """Measure the base model, and write that as the result of a run that trains nothing."""
    trained.work.clock.begin(TimedStage.BASE)
    base = measuring.baseline()
    write_results(trained, TestFigures(base, base), (), outbox)


def write_measurement(trained: TrainedRun, figures: TestFigures) -> dict[str, Any] | None:
    """Write measurement.json and return the report's entry; None without test rows."""
    work = trained.work
    if not work.inputs.dataset.test:
        work.place.remove(MEASUREMENT)
        return None
    text = measured_of(work, trained.loaded, trained.step, figures.base, figures.tuned).to_text()
    work.place.put(MEASUREMENT, text)
    return {"path": work.place.uri(MEASUREMENT), "bytes": len(text.encode())}


def write_predictions(trained: TrainedRun, figures: TestFigures) -> dict[str, Any] | None:
    """Write predictions.jsonl and return the report's entry; None where no row was asked anything that people can read."""
    place, work = trained.work.place, trained.work
    lines = [] if figures_only(work) else predictions_of(figures.base, figures.tuned, work.inputs.dataset.test)
    if not lines:
        place.remove(PREDICTIONS)
        return None
    place.put(PREDICTIONS, json_lines(lines))
    return {"path": place.uri(PREDICTIONS), "rows": len(lines)}


def write_report(trained: TrainedRun, report: dict[str, Any], outbox: Outbox) -> None:
    """Write report.json, and send its URI to the driver."""
    work = trained.work
    work.place.put(REPORT, json.dumps(report, indent=1, ensure_ascii=False))
    output = OutputRecord(uri=work.place.uri(), report_uri=work.place.uri(REPORT))
    outbox.send(output=output, progress=trained.progress.to_record())


def export_forms(trained: TrainedRun, forms: Sequence[Export], report: Mapping[str, Any]) -> Sequence[Exported]:
    """Export the current model in the given forms, with cards made from `report`; on rank 0 alone, but every rank takes part."""
    if not forms:
        return ()
    loaded, task = trained.loaded, trained.work.inputs.task
    family = task.objective.family
    probe, parameters = take_probe(loaded, trained.rows, family), trained_parameters(trained)
    if loaded.provenance is None:
        return ()
    config, dtype = trained.work.config, base_dtype(loaded.engine.model)
    data = config.data.to_wire()
    wording = task.wording(languages_in(sources_of(data)), loaded.tokenizer)
    origin = Origin(
        loaded.located, loaded.tokenizer, loaded.provenance, config.job.name, dtype, family, task.facts.name,
        quantization_of(config.method), task.known, report, config.training.seed, pairs_in(data), wording,
    )  # fmt: skip
    tensors = TrainedTensors.of(loaded.engine.model, parameters, trained.step)
    return export(tensors, origin, forms, trained.work.place.below(MODEL), probe)


def trained_parameters(trained: TrainedRun) -> Mapping[str, Tensor]:
    """Return what was trained, on rank 0. Every rank takes part.

    Of a whole model that ranks share, rank 0 would gather a copy in float32: it reads the checkpoint of this step, tensor by tensor.
    """
    engine, work, found = trained.loaded.engine, trained.work, None
    if engine.rank == 0 and engine.shards_state and work.config.method.lora is None:
        with contextlib.suppress(FileNotFoundError):  # it may have been removed after a run that is only to be exported
            found = SavedTensors(work.place.fetch(checkpoint_name(trained.step)))
    if not engine.broadcast(found is not None):
        return engine.parameters()
    return found.one_by_one(PARAMETERS) if found is not None else {}


def take_probe(loaded: Loaded, rows: Rows, family: Family) -> Probe:
    """Return the logits of the engine's model on a few rows, to compare the exports with; every rank takes part."""
    engine = loaded.engine
    engine.model.eval()

    def forward(**inputs: Any) -> Tensor:
        on_device = {name: value.to(engine.device) if isinstance(value, Tensor) else value for name, value in inputs.items()}
        return engine.forward(**on_device)

    samples = (*rows.test[:PROBE_ROWS], *(piece.tokens for piece in rows.train[:PROBE_ROWS]))
    with exact_products():
        return Probe.take(forward, [row.read for row in samples], DTYPES[loaded.precision], family)
