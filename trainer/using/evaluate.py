"""`finetune evaluate`: measures a model on the test rows of a job, and if asked its base on the same rows.

The rows are read, checked and split as the job's run does it, and the figures are computed as at the end of a run, by one process.
Test: tests/trainer/using/test_evaluate.py.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from finetune.api.errors import InputError
from finetune.api.evaluation import Generation
from finetune.api.trainconfig import TrainConfig
from finetune.api.using import ChosenModel, Evaluate
from trainer.data.rows import Dataset, Sample
from trainer.evaluation.evaluator import measure
from trainer.evaluation.heldout import HeldOut
from trainer.evaluation.measurement import Measurement
from trainer.objectives.base import probed_forward
from trainer.preflight.architecture import limits_of
from trainer.preflight.limits import limit_findings
from trainer.reporting.evaluated import Evaluated, report_of
from trainer.reporting.render import render_table
from trainer.storage.localfolder import LocalFolder
from trainer.storage.ownership import RUN_FILE, recorded_time
from trainer.tasks.base import Task
from trainer.training.batches import AtOnce
from trainer.using.found import Found
from trainer.using.loading import Loaded, Side

Say = Callable[[str], None]


@dataclass(frozen=True)
class RowsInTokens:
    """The rows that a model is measured on: as the job's task reads them, and in tokens."""

    task: Task[Any]
    tokenizer: Any
    examples: Sequence[Any]
    rows: Sequence[Sample]


def with_task(wanted: Evaluate, found: Found, say: Say) -> ChosenModel:
    """Return the model with the task that it is measured for, which is the job's; `say` is told of a model trained for another."""
    task = wanted.job.task
    if found.task not in (None, task):
        say(f"the model was trained for {found.task}; the job's rows are for {task}")
    return wanted.model.changed(task=task)


def rows_in_tokens(wanted: Evaluate, dataset: Dataset, loaded: Loaded, found: Found, say: Say) -> RowsInTokens:
    """Return the test rows in tokens; `say` is told what of them the model was not made for.

    Raises InputError for a job without any, and for rows that the model cannot read.
    """
    examples = dataset.test[: wanted.limit] if wanted.limit is not None else dataset.test
    if not len(examples):
        raise InputError("data.test", "the job has no test rows to measure a model on", "give data.test or data.testFraction")
    # Only of a model that says nothing of what it was trained for, the job's own training rows say it.
    recorded = found.known is not None and found.task is loaded.task.facts.name
    trained = recorded or bool(loaded.task.known)
    task = loaded.task if trained else loaded.task.knowing(dataset.train)
    task.check_held_out(examples, trained=trained)
    task.prepare(loaded.tokenizer, _moment(wanted))
    task.check_tokenizer(loaded.tokenizer)
    task = task.fitting(loaded.tokenizer)
    length = wanted.job.training.max_sequence_length
    pieces = [piece for found in task.on("data.test").encode_all(examples, loaded.tokenizer, length) for piece in found]
    rows, limits = [piece.tokens for piece in pieces], limits_of(loaded.tuned.engine.model.config)
    for finding in limit_findings([rows], loaded.tokenizer, wanted.job, task.route, limits):
        say(f"finding: {finding}")
    return RowsInTokens(task, loaded.tokenizer, examples, rows)


def evaluate(wanted: Evaluate, loaded: Loaded, found: Found, given: RowsInTokens, say: Say) -> None:
    """Measure, print the table, and write the figures if that is asked for."""
    measured = {side.name: _measured(side, wanted.job, given, say) for side in loaded.sides}
    judged_by, rows = wanted.job.judged_by(given.task.route), len(given.examples)
    report = report_of(Evaluated(wanted.job, wanted.model.name, found.said, rows, judged_by, measured["tuned"], measured.get("base")))
    Console().print(render_table(report))
    if wanted.output is not None:
        wanted.output.write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
        say(f"wrote {wanted.output}")


def _measured(side: Side, config: TrainConfig, given: RowsInTokens, say: Say) -> Measurement:
    """Return the figures of one model, computed as in a run."""
    say(f"measuring the {side.name} model on {len(given.examples)} test rows")
    longest, rows = max(len(row.input_ids) for row in given.rows), config.training.micro_batch_size
    held_out = HeldOut(
        given.task, given.tokenizer, given.examples, given.rows, AtOnce(rows, rows * longest),
        config.training.max_sequence_length, config.evaluation.generation or Generation(), config.evaluation.text_normalization,
    )  # fmt: skip
    with side.within():
        forward = probed_forward(side.engine.model, side.engine.forward, given.task.objective.family)
        return measure(side.engine, forward, held_out, config.test_metrics(given.task.route))


def _moment(wanted: Evaluate) -> str:
    """Return the time for a template that reads the clock: that of the run which trained the model, else now."""
    run = Path(wanted.model.name)
    known = recorded_time(LocalFolder(run)) if (run / RUN_FILE).is_file() else None
    return known or datetime.now().astimezone().replace(tzinfo=None).isoformat(timespec="seconds")
