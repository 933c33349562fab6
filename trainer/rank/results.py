"""The results of a run: the exports of the model, and the report, which is written last because it marks the run as complete.

Every rank calls these functions in the same order; only rank 0 writes. Test: tests/trainer/rank/test_results.py.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from finetune.api.errors import InputError
from finetune.api.metrics import MetricName
from finetune.api.record import CheckpointRecord, ModelProvenance, OutputRecord, Stage
from finetune.api.results import ADAPTATION, KEPT, MEASUREMENT, MODEL, PREDICTIONS, REPORT, missing_results, read_report
from finetune.api.sections import Export
from finetune.api.sources import Initialization
from finetune.api.timings import TimedStage
from finetune.api.trainconfig import OutputFolder
from finetune.system.memory import peak_bytes
from trainer.augmentation.augmenter import Augmenter
from trainer.augmentation.rewritten import to_report
from trainer.engine.base import Engine
from trainer.engine.precision import DTYPES, exact_products
from trainer.engine.state import PARAMETERS
from trainer.evaluation.comparison import Comparison
from trainer.evaluation.generalization import count_sampled, warning_of
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.turns import in_turns
from trainer.evaluation.unchanged import unchanged
from trainer.model.beside import Origin
from trainer.model.earlier import adapted_folder
from trainer.model.exporter import Exported, TrainedTensors, base_dtype, export
from trainer.model.quantization import quantization_of
from trainer.model.verification import PROBE_ROWS, Probe
from trainer.objectives.family import Family
from trainer.rank.assignment import Assignment
from trainer.rank.basefigures import measured_of
from trainer.rank.loading import Loaded
from trainer.rank.measuring import Measuring
from trainer.rank.outbox import Outbox
from trainer.rank.resuming import Start
from trainer.rank.rows import Rows
from trainer.rank.training import validation_every
from trainer.reporting.adaptation import Adapted
from trainer.reporting.corpus import corpus_to_wire
from trainer.reporting.hyperparameters import hyperparameters
from trainer.reporting.predictions import json_lines, predictions_of
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
from trainer.reporting.sources import languages_in, pairs_in, sources_of
from trainer.reporting.steering import early_stopping_entry, generalization_entry
from trainer.storage.kinds import output_place
from trainer.storage.localfolder import LocalFolder
from trainer.storage.manifest import checkpoint_name
from trainer.storage.tensors import SavedTensors
from trainer.training.loop import Progress, StopReason

NAMES_MAX = 100
"""Names of weights in the report; a random model has thousands of new ones."""
EXAMPLES = 5
"""Number of texts in the report that augmentation varies, before and after."""
SAMPLE_ANSWERS = 3
"""Number of answers in the report, base next to tuned."""


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


@dataclass(frozen=True)
class TestFigures:
    """What both models were measured to be on the test rows."""

    __test__ = False  # no test, though the name begins like one

    base: Measurement
    tuned: Measurement
    comparison: Comparison = field(default_factory=Comparison)
    adapted: Adapted | None = None
    """How plain texts were found, of a job that adapts to a domain."""


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


def figures_only(work: Assignment) -> bool:
    """Return whether nobody uses the model of this run: it is only measured."""
    return work.config.derived is not None and work.config.derived.figures_only


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


def result_of(trained: TrainedRun, provenance: ModelProvenance, figures: TestFigures, predictions: dict[str, Any] | None,
              checkpoints: Sequence[CheckpointRecord]) -> RunResult:  # fmt: skip
    """Collect everything that the report is made from before the model is exported."""
    rows, config, dataset, task = trained.rows, trained.work.config, trained.work.inputs.dataset, trained.work.inputs.task
    pieces = len(rows.train) if task.cuts else None
    every = validation_every(config, rows)
    digests = {field: digest for field, digest in trained.work.inputs.digests(config).items() if field in dataset.sides()}
    return RunResult(
        model=provenance,
        weights=names_in_report(trained.loaded),
        data=DataCounts(len(dataset.train), len(dataset.validation), len(dataset.test), pieces, sources_of(config.data.to_wire()), digests),
        training=training_summary(trained),
        baseline=figures.base.figures,
        final=figures.tuned.figures,
        comparison=figures.comparison,
        measured_step=trained.step,
        judged_by=config.judged_by(task.route),
        evaluated_rows=len(dataset.test),
        generated_rows=len(figures.tuned.generated),
        cut_answers=(figures.base.cut_answers, figures.tuned.cut_answers),
        samples=() if figures_only(trained.work) else sample_answers(figures.base, figures.tuned),
        augmentation=augmented(trained),
        checkpoints=checkpoints,
        best=trained.start.ledger.metrics.best,
        early_stopping=early_stopping(trained),
        generalization=generalization(trained),
        hyperparameters=hyperparameters(
            config,
            task.route,
            trained.loaded.precision,
            packed=trained.loaded.packed,
            validation_every=every,
            recomputes=trained.loaded.recomputes,
        ),
        predictions=predictions,
        unchanged=unchanged(figures.tuned) if task.facts.unchanged else None,
        adapted=figures.adapted,
        continued=trained.start.continued,
        corpus=corpus(trained.work),
    )


def corpus(work: Assignment) -> dict[str, Any] | None:
    """Return the report's entry on the corpus that was learned before; None where none was."""
    folder = adapted_folder(work.config.model)
    if folder is None:
        return None
    stage = LocalFolder(Path(folder).parent.parent)
    main = work.config.output if work.config.derived is None else OutputFolder(directory=work.config.derived.main)
    return corpus_to_wire(read_report(stage) or {}, output_place(main).uri(f"{ADAPTATION}/{REPORT}"))


def early_stopping(trained: TrainedRun) -> dict[str, Any] | None:
    """Return the report's entry on early stopping."""
    config, progress = trained.work.config, trained.progress
    stopped_at = progress.step if progress.stop_reason is StopReason.EARLY else None
    watched = config.watched(trained.work.inputs.task.route)
    return early_stopping_entry(config.regularization.early_stopping, watched, trained.start.ledger.watched, stopped_at)


def generalization(trained: TrainedRun) -> dict[str, Any] | None:
    """Return the report's entry on the losses of training and validation rows."""
    curve, rows = trained.start.ledger.generalization, trained.rows
    warning = warning_of(curve, stops_early=trained.work.config.regularization.early_stopping is not None)
    return generalization_entry(curve, count_sampled(len(rows.train), len(rows.validation)), warning)


def names_in_report(loaded: Loaded) -> dict[str, Any]:
    """Return what the report says of the weights besides where they are from: whether they are random, which are new or not used."""
    adapted = adapted_folder(loaded.located.request) is not None
    named = {"adaptedFrom": loaded.located.request.name or loaded.located.request.path} if adapted else {}
    names, kind = loaded.names, Initialization.RANDOM if loaded.located.draws else Initialization.PRETRAINED
    return {
        **named, "initialization": kind.value,
        "newlyInitialized": list(names.new[:NAMES_MAX]), "newlyInitializedCount": len(names.new),
        "unused": list(names.unused[:NAMES_MAX]), "unusedCount": len(names.unused),
    }  # fmt: skip


def augmented(trained: TrainedRun) -> dict[str, Any] | None:
    """Return what augmentation did, for the report; None without it."""
    config, work = trained.work.config.augmentation, trained.work
    if config is None:
        return None
    examples: list[tuple[str, str]] = []
    with contextlib.suppress(InputError):  # a table of the user's own that was removed since training began
        varying = Augmenter(config, work.config.training.seed, trained.rows.rewritten)
        examples = varying.examples(work.inputs.task, work.inputs.dataset.train, EXAMPLES)
    report = trained.start.varied.to_report([operation.name for operation in config.operations], examples)
    return report | ({"paraphrases": to_report(trained.rows.rewritten)} if trained.rows.rewritten else {})


def training_summary(trained: TrainedRun) -> TrainingSummary:
    """Summarize training for the report, and what memory was needed until now."""
    progress, advance = trained.progress, trained.progress.to_record()
    return TrainingSummary(
        steps=progress.step,
        total_steps=progress.total_steps,
        epochs=advance.epoch,
        tokens_seen=progress.tokens_seen,
        seconds=progress.step_seconds,
        world_size=trained.loaded.engine.world_size,
        trainable_parameters=trained.loaded.engine.trained_elements(),
        peak_memory_bytes=peak_bytes(),
        peak_device_memory_bytes=peak_device_memory_bytes(trained.loaded.engine.device),
        train_loss=trained.start.ledger.metrics.latest.get(MetricName.TRAIN_LOSS),
        tokens_per_second=advance.tokens_per_second,
        resumed_from_step=trained.start.step,
        stopped_early=progress.stop_reason is StopReason.EARLY,
        repeated_steps=progress.repeated_steps,
        loss_scale=scale.scale if (scale := trained.loaded.engine.loss_scale) is not None else None,
    )


def peak_device_memory_bytes(device: torch.device) -> int | None:
    """Return the most memory that tensors of this process had on a GPU so far; None where the model is not on one."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def sample_answers(baseline: Measurement, final: Measurement) -> list[SampleAnswer]:
    """Pair the answers of both models to the same prompts, of every source and group; at most `SAMPLE_ANSWERS`."""
    base, tuned = (in_turns(side.predictions, SAMPLE_ANSWERS) for side in (baseline, final))
    return [SampleAnswer(one.prompt, one.references[0], one.answer, other.answer) for one, other in zip(base, tuned, strict=False)]
