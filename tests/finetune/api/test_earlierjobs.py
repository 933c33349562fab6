"""How a job names an earlier one, and what comes of that in configuration, lineage and status."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from finetune.api.earlierjobs import ContinuedFrom, EarlierRun, FineTunedModel, JobReference
from finetune.api.folding import fold
from finetune.api.lineage import differing_field, length_of, without_length
from finetune.api.record import ModelProvenance, ProgressRecord, Stage
from finetune.api.resolve import NamedJob, build, named_jobs, references
from finetune.api.spec import FineTuneJobSpec
from finetune.api.status import FineTuneJobStatus
from finetune.api.trainconfig import JobIdentity, OutputFolder, ProgressTarget, TrainConfig, Workers
from tests.builders import train_config, wire_spec

BOTH: dict[str, Any] = {"model": {"fineTuneJob": {"name": "first"}}, "continueFrom": {"fineTuneJob": "zero"}}


def spec(**changes: Any) -> FineTuneJobSpec:
    return FineTuneJobSpec.model_validate(wire_spec(**changes))


def built(uid: str | None = None, root: str = "/runs", **changes: Any) -> TrainConfig:
    def run(named: NamedJob) -> EarlierRun:
        return EarlierRun(name=named.name, uid=uid, path=f"{root}/{named.name}")

    return build(
        spec(**changes), lambda reference: "/file", job=JobIdentity(name="bot"), workers=Workers(),
        output=OutputFolder(directory="/out"), progress=ProgressTarget(file="/out/p"), resolve_job=run,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["team-b/first", "First", "1st", "a.b", "", "b" * 41, "first\n"])
def test_only_a_name_in_the_same_namespace_is_one(name: str) -> None:
    with pytest.raises(ValidationError):
        JobReference(name=name)


def test_the_jobs_that_a_spec_names_are_no_files() -> None:
    assert named_jobs(spec(**BOTH)) == [NamedJob("model.fineTuneJob", "first"), NamedJob("continueFrom", "zero")]
    assert named_jobs(spec()) == []
    assert [reference.field for reference in references(spec(**BOTH))] == ["data.train[0]"]


def test_the_trainer_gets_the_merged_model_of_the_one_and_the_folder_of_the_other() -> None:
    config = built("u-1", **BOTH)
    assert config.model.path == "/runs/first/model/merged"
    assert config.model.fine_tune_job == EarlierRun(name="first", uid="u-1", path="/runs/first")
    assert config.continue_from is not None
    assert config.continue_from.fine_tune_job == EarlierRun(name="zero", uid="u-1", path="/runs/zero")
    assert TrainConfig.model_validate(config.to_wire()) == config


def test_folders_may_move_and_names_may_not() -> None:
    before, moved = built(**BOTH).lineage(), built(root="/elsewhere", **BOTH).lineage()
    assert differing_field(before, moved) is None
    other = built(**(BOTH | {"model": {"fineTuneJob": {"name": "other"}}})).lineage()
    assert differing_field(before, other) == "model.fineTuneJob.name"
    assert differing_field(before, built(model=BOTH["model"]).lineage()) == "continueFrom"


def test_a_run_of_a_version_that_continued_nothing_is_the_same_run() -> None:
    lineage = train_config().lineage()
    recorded = {name: value for name, value in lineage.items() if name != "continueFrom"}
    assert differing_field(recorded, lineage) is None


def test_the_length_of_a_lineage_is_apart_from_the_rest() -> None:
    epochs, steps = train_config().lineage(), train_config(training={"maxSteps": 5}).lineage()
    assert (length_of(epochs), length_of(steps)) == ({"epochs": 1.0}, {"maxSteps": 5})
    assert differing_field(epochs, steps) == "training.maxSteps"
    assert differing_field(without_length(epochs), without_length(steps)) is None
    seed = train_config(training={"maxSteps": 5, "seed": 1}).lineage()
    assert differing_field(without_length(epochs), without_length(seed)) == "training.seed"


def test_what_the_trainer_says_of_earlier_jobs_stays_in_status() -> None:
    made = FineTunedModel(name="first", uid="u-1", step=60, digest="sha256:abc")
    continued = ContinuedFrom(name="zero", step=40)
    model = ModelProvenance(name="m", source="s", precision="float32", digest="sha256:abc", fine_tune_job=made)
    first = ProgressRecord(
        attempt=1, sequence=1, time=datetime.now(UTC), stage=Stage.TRAINING, model=model, continued_from=continued,
    )  # fmt: skip
    status = fold(fold(FineTuneJobStatus(), first), first.model_copy(update={"sequence": 2, "model": None, "continued_from": None}))
    assert status.model is not None
    assert (status.model.fine_tune_job, status.continued_from) == (made, continued)
