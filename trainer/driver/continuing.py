"""Runs that go on where another one ended: what must be equal, and that there is something left to train.

In the same folder, of a run that was shorter (`finetune run --continue`), or from the folder of another job (`continueFrom`), of which
nothing is written. Asked before the output folder changes. Tests: tests/trainer/driver/test_continuing.py.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finetune.api.adaptation import BUDGET
from finetune.api.earlier import in_words_of_today
from finetune.api.errors import InputError
from finetune.api.lineage import LENGTH, differing_field, length_of, without_length
from finetune.api.results import REPORT, read_report
from finetune.api.sections import Scheduler, Training
from finetune.api.trainconfig import TrainConfig
from trainer.data.datafolder import DataFolder
from trainer.data.sampler import steps_total
from trainer.preflight.adapting import epoch_rows
from trainer.preflight.inputs import Inputs
from trainer.storage.localfolder import LocalFolder
from trainer.storage.manifest import MANIFEST_FILE, TornCheckpointError, checkpoint_names, read_manifest
from trainer.storage.ownership import RUN_FILE, Ownership

FIELD = "continueFrom.fineTuneJob"
MAY_DIFFER = ("evaluation", "continueFrom")
"""What a job that continues another may change, besides how long it trains."""
WHEN = "everySteps"
"""The field of evaluation that changes no figure of a model."""


@dataclass(frozen=True)
class Earlier:
    """The run that another one continues."""

    claim: Ownership
    name: str

    @classmethod
    def of(cls, config: TrainConfig) -> "Earlier | None":
        """Return the run that a configuration continues, None where it begins anew; InputError where there is no run."""
        if config.continue_from is None:
            return None
        job = config.continue_from.fine_tune_job
        return cls(Ownership.recorded(LocalFolder(Path(job.path)), FIELD), job.name)

    def check(self, ownership: Ownership) -> None:
        """Raise InputError, which names the field, for a run that this one may not go on from."""
        field = differing_field(_comparable(self.claim.lineage), _comparable(ownership.lineage))
        if field is not None:
            fix = "give it the same value, or train a new job without continueFrom"
            raise InputError(field, f"is not what it was in the job {self.name}, which this one continues", fix)
        changed = next((name for name, digest in ownership.digests.items() if self.claim.digests.get(name) != digest), None)
        if changed is not None:
            fix = "restore it, or train a new job without continueFrom"
            raise InputError(changed, f"holds something else than in the job {self.name}, which this one continues", fix)

    def check_longer(self, config: TrainConfig, inputs: Inputs) -> None:
        """Raise InputError unless steps are left to train after the newest checkpoint."""
        trained, total = max(checkpoint_names(self.claim.place), default=0), _steps(inputs, config)
        if trained == 0:
            problem = f"{self.claim.place.uri()} has no checkpoints of the job {self.name}"
            raise InputError(FIELD, problem, "restore them, or leave continueFrom out")
        refuse_beyond_budget(self.claim)
        if total <= trained:
            problem = f"makes {total} steps, and the job {self.name} has trained {trained}"
            raise InputError(f"training.{_length_field(config.lineage())}", problem, "give more to continue it")


def continued_by(config: TrainConfig, ownership: Ownership, *, finished: bool) -> Earlier | None:
    """Return the run that this one is to go on from, None once it has finished or has checkpoints of its own."""
    return None if finished or checkpoint_names(ownership.place) else Earlier.of(config)


def begin_where_another_ended(
    ownership: Ownership, earlier: Earlier | None, config: TrainConfig, inputs: Inputs, data: DataFolder
) -> Ownership:
    """Return the claim of a run that is about to begin, once it is known to become longer than the one that it goes on from, if any."""
    if earlier is None and ownership.shorter() is None:
        return ownership
    data.keep()
    inputs = inputs.with_tokens(config, data)  # without them nobody knows how many steps there are
    ownership = lengthened(ownership, config, inputs)
    if earlier is not None:
        earlier.check_longer(config, inputs)
    print(schedule_in_words(config), flush=True)
    return ownership


def refuse_control_runs(config: TrainConfig) -> None:
    """Raise InputError where control runs are asked for, which would not begin where this run does."""
    if config.evaluation.ablations and (config.continue_from is not None or config.lengthen):
        problem = "control runs cannot go on from the checkpoint of another run, whose settings are not theirs"
        raise InputError("evaluation.ablations", problem, "leave it out, or train from the beginning")


def refuse_beyond_budget(before: Ownership) -> None:
    """Raise InputError where the newest weights of a run are beyond its budget: training from there would end before its first step."""
    newest = max(checkpoint_names(before.place).items(), default=None)
    if newest is None:
        return
    try:
        record = read_manifest(before.place.fetch(f"{newest[1]}/{MANIFEST_FILE}"), before.owner).record
    except (OSError, TornCheckpointError):
        return  # whoever loads it says what is wrong
    if record.within_budget is False:
        problem = f"the run in {before.place.uri()} ended at step {newest[0]} because it was beyond this budget, and would end there again"
        raise InputError(BUDGET, problem, "train a new run with a larger budget, a lower training.learningRate or more replay")


def lengthened(ownership: Ownership, config: TrainConfig, inputs: Inputs) -> Ownership:
    """Return the claim of a run that goes on in its folder, whose earlier report is kept; unchanged for any other run.

    Raises InputError where the run would not become longer.
    """
    before = ownership.shorter()
    if before is None:
        return ownership
    shorter = config.model_copy(update={"training": _training_of(before)})
    total, earlier = _steps(inputs, config), _steps(inputs, shorter)
    if total <= earlier:
        given = _length_field(config.lineage())
        problem = f"makes {total} steps, and the run in {ownership.place.uri()} was made for {earlier}"
        raise InputError(f"training.{given}", problem, f"give more to continue it (it has {_in_words(before.lineage)})")
    refuse_beyond_budget(before)
    keep_report(before)
    return replace(ownership, mark=before.owner)


def _training_of(before: Ownership) -> Training:
    """Return the recorded section; InputError where another version wrote what this one does not know."""
    try:
        return Training.model_validate(in_words_of_today(before.lineage).get("training"))
    except ValidationError as error:
        found = error.errors()[0]
        path, problem = ".".join(("training", *map(str, found["loc"]))), found["msg"]
        said = f"{before.place.uri(RUN_FILE)} records what this version cannot read: {problem}"
        raise InputError(path, said, "continue the run with the version that trained it, or train anew in another folder") from error


def schedule_in_words(config: TrainConfig) -> str:
    """Return what becomes of the learning rate of a run that goes on."""
    scheduler = config.training.scheduler
    again = "" if scheduler is Scheduler.CONSTANT else "; it rises again where the shorter run had let it fall"
    return f"training goes on from the last checkpoint; the learning rate follows the {scheduler} schedule of the new length{again}"


def keep_report(before: Ownership) -> None:
    """Keep the report of the shorter run under its number of steps."""
    report = read_report(before.place)
    if report is not None:
        steps = (report.get("training") or {}).get("steps", 0)
        name = f"{REPORT.removesuffix('.json')}-{steps}.json"
        before.place.put(name, json.dumps(report, indent=1, ensure_ascii=False))


def _steps(inputs: Inputs, config: TrainConfig) -> int:
    tokens = inputs.written_tokens
    return steps_total(epoch_rows(tokens.train.pieces, config, replays=tokens.replay is not None), config.training)


def _comparable(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be equal. Where all weights are trained the base's figures are of the earlier job: they are measured alike."""
    same = {name: value for name, value in without_length(lineage).items() if name not in MAY_DIFFER}
    if (lineage.get("method") or {}).get("full") is not None:
        same["evaluation"] = {name: value for name, value in (lineage.get("evaluation") or {}).items() if name != WHEN}
    return same


def _length_field(lineage: Mapping[str, Any]) -> str:
    return next(iter(length_of(lineage)), LENGTH[0])


def _in_words(lineage: Mapping[str, Any]) -> str:
    return " and ".join(f"{name} {value:g}" for name, value in length_of(lineage).items())
