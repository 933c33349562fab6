"""What a run that goes on where another ended must share with it, and that it must be longer."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from finetune.api.errors import InputError
from finetune.api.record import CheckpointRecord
from finetune.api.trainconfig import TrainConfig
from tests.builders import REMOVED, train_config
from trainer.data.shards import Shard
from trainer.driver.continuing import Earlier, continued_by, lengthened, refuse_control_runs, schedule_in_words
from trainer.preflight.inputs import Inputs
from trainer.preflight.tokens import Tokens
from trainer.storage.localfolder import LocalFolder
from trainer.storage.manifest import write_manifest
from trainer.storage.ownership import Ownership

DIGESTS = {"data.train": "rows", "model.path": "weights"}
FULL: dict[str, Any] = {"method__lora": REMOVED, "method__full": {}}


@dataclass(frozen=True)
class Counted:
    """Input of so many rows."""

    pieces: int = 64

    @property
    def written_tokens(self) -> Tokens:
        return Tokens(*[Shard(Path("/nowhere"), self.pieces, 0, 0)] * 3)


INPUTS = cast(Inputs, Counted())


def steps(count: int) -> dict[str, Any]:
    return {"maxSteps": count, "globalBatchSize": 8}


def config(folder: Path, output: str = "out", **changes: Any) -> TrainConfig:
    given = {"training": steps(20), "output": {"directory": str(folder / output)}}
    return train_config(folder, **(given | changes))


def next_job(folder: Path, **changes: Any) -> TrainConfig:
    first = {"fineTuneJob": {"name": "first", "path": str(folder / "out")}}
    return config(folder, "next", **({"job__name": "second", "continueFrom": first, "training": steps(30)} | changes))


def trained(folder: Path, digests: dict[str, str] = DIGESTS, steps: int = 20, **changes: Any) -> Ownership:
    """Leave what a finished run leaves; return its claim."""
    claim = Ownership.of(config(folder, **({"job__name": "first"} | changes)), digests)
    (folder / "out" / "checkpoints" / f"step-{steps}").mkdir(parents=True)
    (folder / "out" / "report.json").write_text(json.dumps({"training": {"steps": steps}, "judgedBy": "perplexity"}))
    claim.write(finished=True)
    return claim


def check(job: TrainConfig, digests: dict[str, str] = DIGESTS) -> None:
    earlier = Earlier.of(job)
    assert earlier is not None
    earlier.check(Ownership.of(job, digests))
    earlier.check_longer(job, INPUTS)


@pytest.mark.parametrize(
    "changes",
    [
        {"training__maxSteps": 21},
        {"training": {"epochs": 3, "globalBatchSize": 8}},
        {"evaluation": {"everySteps": 5, "metrics": ["perplexity"]}},
        {"checkpoint": {"everySteps": 7, "keep": 9}},
        {"workers": {"workers": 2}},
    ],
    ids=["one step more", "epochs", "evaluation", "checkpoints", "ranks"],
)
def test_length_evaluation_checkpoints_and_ranks_may_differ(tmp_path: Path, changes: dict[str, Any]) -> None:
    trained(tmp_path)
    check(next_job(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "digests", "words"),
    [
        ({"method__lora__rank": 8}, DIGESTS, "method.lora.rank: is not what it was in the job first, which this one continues; give it"),
        ({"task": "text-generation"}, DIGESTS, "task: is not what it was"),
        ({"training__learningRate": 0.5}, DIGESTS, "training.learningRate: is not what it was"),
        ({"regularization": {"dropout": 0.1}}, DIGESTS, "regularization.dropout: is not what it was"),
        ({}, DIGESTS | {"data.train": "others"}, "data.train: holds something else than in the job first"),
        ({}, DIGESTS | {"data.test": "new"}, "data.test: holds something else than in the job first"),
        ({"training": steps(20)}, DIGESTS, "training.maxSteps: makes 20 steps, and the job first has trained 20; give more"),
        ({"training": {"epochs": 2, "globalBatchSize": 8}}, DIGESTS, "training.epochs: makes 16 steps, and the job first has trained 20"),
    ],
    ids=["method", "task", "learning rate", "regularization", "rows", "test rows", "as many steps", "fewer epochs"],
)
def test_what_differs_otherwise_is_named(tmp_path: Path, changes: dict[str, Any], digests: dict[str, str], words: str) -> None:
    trained(tmp_path)
    with pytest.raises(InputError) as error:
        check(next_job(tmp_path, **changes), digests)
    assert str(error.value).startswith(words)


def test_where_all_weights_are_trained_the_base_is_not_measured_again_so_that_both_must_be_measured_alike(tmp_path: Path) -> None:
    trained(tmp_path, **FULL)
    check(next_job(tmp_path, **FULL, evaluation={"everySteps": 3}))
    with pytest.raises(InputError, match=r"^evaluation\.metrics: is not what it was in the job first"):
        check(next_job(tmp_path, **FULL, evaluation={"metrics": ["perplexity"]}))


def test_a_folder_without_a_run_or_without_its_checkpoints_is_named(tmp_path: Path) -> None:
    job = next_job(tmp_path)
    with pytest.raises(InputError, match=r"^continueFrom\.fineTuneJob: .* holds no run"):
        Earlier.of(job)
    trained(tmp_path)
    (tmp_path / "out" / "checkpoints" / "step-20").rmdir()
    with pytest.raises(InputError, match=r"^continueFrom\.fineTuneJob: .* has no checkpoints of the job first"):
        check(job)


def test_a_job_with_checkpoints_of_its_own_does_not_need_the_other_any_more(tmp_path: Path) -> None:
    job = next_job(tmp_path)
    claim = Ownership.of(job, DIGESTS)
    with pytest.raises(InputError, match="holds no run"):
        continued_by(job, claim, finished=False)
    assert continued_by(job, claim, finished=True) is None
    (tmp_path / "next" / "checkpoints" / "step-21").mkdir(parents=True)
    assert continued_by(job, claim, finished=False) is None


def test_a_job_that_begins_anew_continues_nothing(tmp_path: Path) -> None:
    assert Earlier.of(config(tmp_path)) is None


def longer(folder: Path, **changes: Any) -> tuple[Ownership, TrainConfig]:
    job = config(folder, **({"job__name": "first", "training": steps(30), "lengthen": True} | changes))
    return Ownership.of(job, DIGESTS).as_recorded(), job


def test_a_longer_run_takes_over_checkpoints_and_keeps_the_report(tmp_path: Path) -> None:
    before = trained(tmp_path)
    claim, job = longer(tmp_path)
    assert not claim.finished()
    after = lengthened(claim, job, INPUTS)
    assert after.owner == before.owner
    assert json.loads((tmp_path / "out" / "report-20.json").read_text())["training"] == {"steps": 20}
    after.write(finished=False)

    plain = Ownership.of(config(tmp_path, job__name="first", training__maxSteps=30), DIGESTS).as_recorded()
    assert (plain.finished(), plain.owner, plain.shorter()) == (False, before.owner, None)
    assert Ownership.recorded(LocalFolder(tmp_path / "out")).owner == before.owner


def rewritten(folder: Path, **training: Any) -> None:
    """Change what the run's record says of training."""
    path = folder / "out" / "run.json"
    record = json.loads(path.read_text())
    record["lineage"]["training"] |= training
    path.write_text(json.dumps(record))


def test_a_run_that_an_earlier_version_recorded_in_its_own_words_may_become_longer(tmp_path: Path) -> None:
    before = trained(tmp_path)
    rewritten(tmp_path, gradientCheckpointing=False)
    claim, job = longer(tmp_path)
    assert lengthened(claim, job, INPUTS).owner != before.owner, "its checkpoints are marked with what it recorded"
    assert (tmp_path / "out" / "report-20.json").exists()


def test_a_record_of_another_version_that_cannot_be_read_is_said_with_its_field(tmp_path: Path) -> None:
    trained(tmp_path)
    claim, job = longer(tmp_path)
    rewritten(tmp_path, scheduler="sawtooth")
    with pytest.raises(InputError) as error:
        lengthened(claim, job, INPUTS)
    assert error.value.field == "training.scheduler"
    assert "run.json records what this version cannot read: " in error.value.problem
    assert error.value.fix == "continue the run with the version that trained it, or train anew in another folder"
    assert not (tmp_path / "out" / "report-20.json").exists()


def newest_is(claim: Ownership, folder: Path, within: bool | None) -> None:
    record = CheckpointRecord(
        step=20, uri="x", size_bytes=1, created_time=datetime.now(UTC), attempt=1, within_budget=within, verified=True
    )
    write_manifest(folder / "out" / "checkpoints" / "step-20", record, claim.owner, {})


@pytest.mark.parametrize("within", [None, True, False])
def test_a_run_that_ended_beyond_its_budget_is_not_continued(tmp_path: Path, within: bool | None) -> None:
    newest_is(trained(tmp_path), tmp_path, within)
    claim, job = longer(tmp_path)
    for continued in (lambda: check(next_job(tmp_path)), lambda: lengthened(claim, job, INPUTS)):
        if within is not False:
            continued()
            continue
        with pytest.raises(InputError, match=r"^domainAdaptation\.maxGeneralPerplexityIncreasePercent: .* ended at step 20 .* new run"):
            continued()
    assert (tmp_path / "out" / "report-20.json").exists() is (within is not False)


def test_a_run_may_become_longer_again_and_again(tmp_path: Path) -> None:
    before = trained(tmp_path)
    for steps in (30, 40):
        claim, job = longer(tmp_path, training__maxSteps=steps)
        lengthened(claim, job, INPUTS).write(finished=True)
    assert Ownership.recorded(LocalFolder(tmp_path / "out")).owner == before.owner


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": steps(10)}, "training.maxSteps: makes 10 steps, and the run in"),
        ({"training": {"epochs": 2, "globalBatchSize": 8}}, "training.epochs: makes 16 steps, and the run in"),
    ],
    ids=["fewer", "fewer in epochs"],
)
def test_a_run_that_would_not_become_longer_is_left_as_it_is(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    trained(tmp_path)
    written = (tmp_path / "out" / "run.json").read_text()
    claim, job = longer(tmp_path, **changes)
    with pytest.raises(InputError) as error:
        lengthened(claim, job, INPUTS)
    assert str(error.value).startswith(words)
    assert str(error.value).endswith("give more to continue it (it has maxSteps 20)")
    assert (tmp_path / "out" / "run.json").read_text() == written
    assert not (tmp_path / "out" / "report-20.json").exists()


def test_a_run_that_differs_in_more_than_its_length_is_refused_as_ever(tmp_path: Path) -> None:
    trained(tmp_path)
    claim, _ = longer(tmp_path, method__lora__rank=9)
    with pytest.raises(InputError, match=r"^method\.lora\.rank: is not what it was in the run that "):
        claim.finished()


def test_without_the_request_a_longer_run_is_refused(tmp_path: Path) -> None:
    trained(tmp_path)
    claim, _ = longer(tmp_path, lengthen=False)
    with pytest.raises(InputError, match=r"^training\.maxSteps: is not what it was in the run that "):
        claim.finished()


@pytest.mark.parametrize(("scheduler", "again"), [("cosine", True), ("linear", True), ("constant", False)])
def test_what_becomes_of_the_learning_rate_is_said(tmp_path: Path, scheduler: str, again: bool) -> None:
    words = schedule_in_words(config(tmp_path, training={**steps(30), "scheduler": scheduler}))
    assert f"the {scheduler} schedule of the new length" in words
    assert ("rises again" in words) is again


def test_control_runs_do_not_go_on_from_another_run(tmp_path: Path) -> None:
    refuse_control_runs(next_job(tmp_path))
    refuse_control_runs(config(tmp_path, evaluation={"ablations": ["augmentation"]}))
    for job in (next_job(tmp_path, evaluation={"ablations": ["augmentation"]}), longer_config(tmp_path)):
        with pytest.raises(InputError, match=r"^evaluation\.ablations: control runs cannot go on from the checkpoint of another run"):
            refuse_control_runs(job)


def longer_config(folder: Path) -> TrainConfig:
    return config(folder, lengthen=True, evaluation={"ablations": ["augmentation"]})
