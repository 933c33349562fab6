"""The base model's figures of the job's own run, for a run that is derived from it: the same model on the same rows is measured once.

Rank 0 reads them for all. Test: tests/trainer/rank/test_results.py.
"""

import logging
from typing import Any

from finetune.api.trainconfig import OutputFolder
from trainer.evaluation.measured import Measured, digest_of_conditions, measured_in
from trainer.evaluation.measurement import Measurement
from trainer.rank.assignment import Assignment
from trainer.rank.loading import Loaded
from trainer.storage.kinds import output_place

logger = logging.getLogger(__name__)

TEST = "data.test"
IRRELEVANT = {"everySteps", "bestMetric", "ablations"}
"""Members of `evaluation` that change no figure on the test rows."""


def base_of_main(work: Assignment, loaded: Loaded) -> Measurement | None:
    """Return, on every rank, the figures of the base model that the job's own run has measured; None where they are not of this one."""
    derived = work.config.derived
    if derived is None:
        return None
    found = None
    if loaded.engine.rank == 0:
        measured = measured_in(output_place(OutputFolder(directory=derived.main)))
        if measured is not None and (measured.rows, measured.conditions) == (rows_of(work), conditions_of(work, loaded)):
            found = measured.base
            logger.info("the base model was measured by the job's own run")
    taken: Measurement | None = loaded.engine.broadcast(found)
    return taken


def measured_of(work: Assignment, loaded: Loaded, step: int, base: Measurement, tuned: Measurement) -> Measured:
    """Return what this run leaves for others to be compared with. On rank 0."""
    return Measured(rows_of(work), conditions_of(work, loaded), step, base, tuned)


def rows_of(work: Assignment) -> str:
    """Return the digest of the test rows."""
    return work.inputs.digests(work.config)[TEST]


def conditions_of(work: Assignment, loaded: Loaded) -> str:
    """Return the digest of what decides the base model's figures: its weights and how it is asked. On rank 0."""
    config, task, provenance = work.config, work.inputs.task, loaded.provenance
    evaluation = {name: value for name, value in config.evaluation.to_wire().items() if name not in IRRELEVANT}
    conditions: dict[str, Any] = {
        "task": task.facts.name, "known": list(task.known), "evaluation": evaluation, "time": work.inputs.template_time,
        "metrics": [name.value for name in config.test_metrics(task.route)],
        "weights": provenance.digest if provenance else None, "held": provenance.precision if provenance else None,
        "precision": loaded.precision.value, "length": config.training.max_sequence_length,
        "seed": config.training.seed if task.objective.family.new_head else None,  # of a head that the model did not have
    }  # fmt: skip
    return digest_of_conditions(conditions)
