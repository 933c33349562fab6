"""What a run came to, for its report: counts, figures, what was augmented, and how training went and why it stopped.

Nothing is written here; trainer/rank/results.py does that. Test: tests/trainer/rank/test_results.py.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from finetune.api.errors import InputError
from finetune.api.metrics import MetricName
from finetune.api.record import CheckpointRecord, ModelProvenance
from finetune.api.results import ADAPTATION, REPORT, read_report
from finetune.api.sources import Initialization
from finetune.api.trainconfig import OutputFolder
from finetune.system.memory import peak_bytes
from trainer.augmentation.augmenter import Augmenter
from trainer.augmentation.rewritten import to_report
from trainer.evaluation.comparison import Comparison
from trainer.evaluation.generalization import count_sampled, remedies_of, warnings_of
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.turns import in_turns
from trainer.evaluation.unchanged import unchanged
from trainer.model.earlier import adapted_folder
from trainer.rank.assignment import Assignment
from trainer.rank.loading import Loaded
from trainer.rank.resuming import Start
from trainer.rank.rows import Rows
from trainer.rank.training import validation_every
from trainer.reporting.adaptation import Adapted
from trainer.reporting.corpus import adapted_before
from trainer.reporting.hyperparameters import hyperparameters
from trainer.reporting.report import (
    DataCounts,
    RunResult,
    SampleAnswer,
    TrainingSummary,
)
from trainer.reporting.sources import sources_of
from trainer.reporting.steering import early_stopping_entry, generalization_entry
from trainer.storage.kinds import output_place
from trainer.storage.localfolder import LocalFolder
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


@dataclass(frozen=True)
class TestFigures:
    """What both models were measured to be on the test rows."""

    __test__ = False  # no test, though the name begins like one

    base: Measurement
    tuned: Measurement
    comparison: Comparison = field(default_factory=Comparison)
    adapted: Adapted | None = None
    """How plain texts were found, of a job that adapts to a domain."""


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
    """Return what the report says of domain adaptation where a corpus was learned before; None where none was."""
    folder = adapted_folder(work.config.model)
    if folder is None:
        return None
    stage = LocalFolder(Path(folder).parent.parent)
    main = work.config.output if work.config.derived is None else OutputFolder(directory=work.config.derived.main)
    return adapted_before(read_report(stage) or {}, output_place(main).uri(f"{ADAPTATION}/{REPORT}"))


def early_stopping(trained: TrainedRun) -> dict[str, Any] | None:
    """Return the report's entry on early stopping."""
    config, progress = trained.work.config, trained.progress
    stopped_at = progress.step if progress.stop_reason is StopReason.EARLY else None
    watched = config.watched(trained.work.inputs.task.route)
    return early_stopping_entry(config.regularization.early_stopping, watched, trained.start.ledger.watched, stopped_at)


def generalization(trained: TrainedRun) -> dict[str, Any] | None:
    """Return the report's entry on the losses of training and validation rows."""
    curve, rows = trained.start.ledger.generalization, trained.rows
    warnings = warnings_of(curve, remedies_of(trained.work.config))
    return generalization_entry(curve, count_sampled(len(rows.train), len(rows.validation)), warnings)


def names_in_report(loaded: Loaded) -> dict[str, Any]:
    """Return what the report says of the weights besides where they are from: whether they are random, which are new or not used."""
    adapted = adapted_folder(loaded.located.request) is not None
    named = {"adaptedFrom": loaded.located.request.name or loaded.located.request.path} if adapted else {}
    names, kind = loaded.names, Initialization.RANDOM if loaded.located.draws else Initialization.PRETRAINED
    return {
        **named, "initialization": kind.value, "headIsNew": loaded.head_is_new,
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


def figures_only(work: Assignment) -> bool:
    """Return whether nobody uses the model of this run: it is only measured."""
    return work.config.derived is not None and work.config.derived.figures_only
