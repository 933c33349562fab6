"""How long the stages of a run took, as report.json has it and `finetune run --timings` shows it.

The trainer writes it, and its command reads it. Tests: tests/finetune/api/test_timings.py.
"""

import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from finetune.api.base import WireModel

STARTED_VARIABLE = "FINETUNE_STARTED"
"""Variable of the environment: when the command began, in seconds since the epoch. Without it a run begins with its trainer."""
Seconds = Annotated[float, Field(ge=0)]


class TimedStage(StrEnum):
    """The stages that are timed, in the order in which they usually begin."""

    START = "start"
    """From the command's first moment until rows are read: interpreters and imports."""
    ROWS = "rows"
    """Sources are read, checked and divided."""
    MODEL = "model"
    """What the checks of the model and its tokenizer take after the rows: they begin beside them, partly in another program."""
    DOCTOR = "doctor"
    """Rows are examined as the model will see them."""
    TOKENS = "tokens"
    """Rows are tokenized."""
    RAY = "Ray"
    """Ray starts, or is joined: while rows are read, unless only results are missing."""
    FETCH = "fetch"
    """Weights come from the hub, once on each node; not where nothing is loaded from there."""
    WORKERS = "workers"
    """What the start of the ranks takes after the tokens: it begins beside the checks. Up to the first line of rank 0's own work.

    Its processor time is all that rank 0 has used until then."""
    REWRITING = "rewriting"
    """Models write variants of the training texts, for augmentation."""
    LOAD = "load"
    """Imports, weights and engine of rank 0."""
    RESUME = "resume"
    """Checkpoints are looked for, and one is loaded if there is any."""
    BASE = "base model"
    """The base model is measured on the test rows: after training where that leaves it as it is (LoRA)."""
    FIRST_STEP = "first step"
    """Up to the end of the first training step of this attempt."""
    TRAINING = "training"
    """The other steps."""
    VALIDATION = "validation"
    CHECKPOINTS = "checkpoints"
    """Training waits for a checkpoint: the state is copied, the one before is still being written, or it is the last one."""
    SAVING = "saving"
    """Checkpoints are written and verified, beside training."""
    FINAL = "final model"
    """The best weights are restored and measured on the test rows."""
    EXPORT = "export"
    """The model is written, and read back."""


class StageTiming(WireModel):
    """One stage of an attempt, or all its occurrences together."""

    stage: TimedStage
    process: str
    """Which program it was in: `driver`, or `rank 0`."""
    start_seconds: float
    """When it first began, after the start of the command. The clocks of two nodes may differ."""
    seconds: Seconds
    """By the clock, without other stages that interrupted it."""
    cpu_seconds: Seconds | None = None
    """Processor time of that program meanwhile, of all its threads, without other programs; None where it is not known."""
    times: Annotated[int, Field(ge=1)] = 1
    beside: bool = False
    """It ran beside the stages of its program, which otherwise follow each other."""


class Timings(WireModel):
    """The stages of the attempt that wrote the report, until then."""

    seconds: Seconds
    """From the start of the command to the report."""
    stages: list[StageTiming]


def started_by(environment: Mapping[str, str] = os.environ, *, otherwise: float) -> float:
    """Return when the command began, by the environment that it gave its programs."""
    try:
        return float(environment[STARTED_VARIABLE])
    except (KeyError, ValueError):
        return otherwise
