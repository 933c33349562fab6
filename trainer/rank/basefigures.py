"""The base model's figures of another run of the job: the same model on the same rows is measured once.

A run that is derived from the job's own takes them from there. One that begins with a model that learned a corpus takes those of the
untouched model, which a run before it has measured.

Rank 0 reads them for all. Test: tests/trainer/rank/test_results.py.
"""

import logging
from pathlib import Path
from typing import Any

from finetune.api.errors import RunError
from finetune.api.results import BASE_ONLY, read_report
from finetune.api.trainconfig import OutputFolder, TrainConfig
from trainer.evaluation.measured import Measured, digest_of_conditions, measured_in
from trainer.evaluation.measurement import Measurement
from trainer.model.earlier import adapted_folder
from trainer.rank.assignment import Assignment
from trainer.rank.loading import Loaded
from trainer.reporting.guessing import guesses
from trainer.storage.kinds import output_place
from trainer.storage.localfolder import LocalFolder
from trainer.storage.place import Place

logger = logging.getLogger(__name__)

TEST = "data.test"
IRRELEVANT = {"everySteps", "bestMetric", "ablations"}
"""Members of `evaluation` that change no figure on the test rows."""


class MissingBaseError(RunError):
    """The figures of the model that learned a corpus afterwards are not where the run before has left them."""


def base_of_another(work: Assignment, loaded: Loaded) -> Measurement | None:
    """Return, on every rank, the figures of the base model that another run has measured; None where they are not of this one.

    Raises MissingBaseError where this run does not have the base model itself.
    """
    if adapted_folder(work.config.model) is not None and work.inputs.dataset.test:
        return _untouched(work, loaded)
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


def base_guesses(config: TrainConfig, loaded: Loaded) -> bool:
    """Return whether the base model knows nothing of what it is measured by: where a corpus was learned, the model before it."""
    folder = adapted_folder(config.model)
    before = read_report(LocalFolder(Path(folder).parent.parent)) if folder is not None else None
    return loaded.guesses or guesses(before or {})


def _untouched(work: Assignment, loaded: Loaded) -> Measurement:
    measured = measured_in(_place_of_untouched(work)) if loaded.engine.rank == 0 else None
    found = measured.base if measured is not None and measured.rows == rows_of(work) else None
    taken: Measurement | None = loaded.engine.broadcast(found)
    if taken is None:
        where = _place_of_untouched(work).uri()
        raise MissingBaseError(f"{where} lacks the untouched model's figures on these test rows; remove that folder, and start again")
    return taken


def _place_of_untouched(work: Assignment) -> Place:
    config = work.config
    main = config.output.directory if config.derived is None else config.derived.main
    return output_place(OutputFolder(directory=str(Path(main) / BASE_ONLY)))


def measured_of(work: Assignment, loaded: Loaded, step: int, base: Measurement, tuned: Measurement) -> Measured:
    """Return what this run leaves for others to be compared with. On rank 0."""
    return Measured(rows_of(work), conditions_of(work, loaded), step, base, tuned)


def rows_of(work: Assignment) -> str:
    """Return the digest of the test rows."""
    return work.inputs.digests(work.config)[TEST]


def conditions_of(work: Assignment, loaded: Loaded) -> str:
    """Return the digest of what decides the base model's figures: its weights and how it is asked. On rank 0."""
    config, task, provenance = work.config, work.inputs.task, loaded.provenance
    weights, held = (provenance.digest, provenance.precision) if provenance else (None, None)
    if adapted_folder(config.model) is not None:
        untouched = (read_report(_place_of_untouched(work)) or {}).get("model", {})
        weights, held = untouched.get("digest"), untouched.get("precision")
    evaluation = {name: value for name, value in config.evaluation.to_wire().items() if name not in IRRELEVANT}
    conditions: dict[str, Any] = {
        "task": task.facts.name, "known": list(task.known), "evaluation": evaluation, "time": work.inputs.template_time,
        "metrics": [name.value for name in config.test_metrics(task.route)],
        "weights": weights, "held": held,
        "precision": loaded.precision.value, "length": config.training.max_sequence_length,
        "seed": config.training.seed if task.objective.family.new_head else None,  # of a head that the model did not have
    }  # fmt: skip
    return digest_of_conditions(conditions)
