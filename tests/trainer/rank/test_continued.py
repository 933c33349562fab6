"""A run that goes on where a shorter one ended, in the same folder or another: beside one that was as long from the beginning."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune.api.earlierjobs import ContinuedFrom
from finetune.api.errors import InputError
from tests.builders import REMOVED, train_config
from tests.trainer.rank.test_resume import STEPS, Ran, folder, run
from trainer.storage.localfolder import LocalFolder
from trainer.storage.ownership import Ownership

__all__ = ["folder"]

HALF = STEPS // 2
TRAINING = {
    "globalBatchSize": 4, "microBatchSize": 2, "learningRate": 0.01, "maxSequenceLength": 128, "scheduler": "constant", "warmupRatio": 0.0,
}  # fmt: skip
LORA: dict[str, Any] = {}
FULL: dict[str, Any] = {"method__lora": REMOVED, "method__full": {}}


def train(folder: Path, output: str, steps: int, *, stop_at: int | None = None, **changes: Any) -> Ran:
    """Train for so many steps, at a learning rate that does not depend on how many there are; the folder may hold a shorter run."""
    return run(
        folder, output, stop_at, **({"training": {**TRAINING, "maxSteps": steps}, "checkpoint": {"everySteps": 1, "keep": 9}} | changes)
    )


def earlier(ran: Ran, name: str = "first") -> dict[str, Any]:
    """Return the change of a job that continues a run, whose folder says whose it is as the driver would have written it."""
    lineage = {**train_config().lineage(), "model": {}}
    Ownership(LocalFolder(ran.folder), name, "owner", lineage, "", {}).write(finished=True)
    return {"continueFrom": {"fineTuneJob": {"name": name, "uid": "owner", "path": str(ran.folder)}}}


def sent(ran: Ran, name: str) -> list[Any]:
    return [changes[name] for changes in ran.driver.sent if name in changes]


@pytest.fixture(scope="module", params=[LORA, FULL], ids=["lora", "full"])
def method(request: pytest.FixtureRequest) -> dict[str, Any]:
    changes: dict[str, Any] = request.param
    return changes


@pytest.fixture(scope="module")
def unbroken(folder: Path, method: dict[str, Any]) -> Ran:
    return train(folder, f"whole-{len(method)}", STEPS, **method)


@pytest.fixture(scope="module")
def half(folder: Path, method: dict[str, Any]) -> Ran:
    return train(folder, f"half-{len(method)}", HALF, **method)


@pytest.fixture(scope="module")
def longer(folder: Path, method: dict[str, Any], half: Ran) -> Ran:
    """Return a run in a copy of the shorter one's folder, which stopped on its way, and went on."""
    shutil.copytree(half.folder, folder / f"longer-{len(method)}")
    stopped = train(folder, f"longer-{len(method)}", STEPS, stop_at=HALF + 1, **method)
    assert stopped.last_step == HALF + 1
    return train(folder, f"longer-{len(method)}", STEPS, **method)


@pytest.fixture(scope="module")
def next_job(folder: Path, method: dict[str, Any], half: Ran) -> Ran:
    """Return a run that continues the shorter one from another folder, which stopped on its way, and went on."""
    changes = method | earlier(half)
    stopped = train(folder, f"next-{len(method)}", STEPS, stop_at=HALF + 1, **changes)
    assert stopped.last_step == HALF + 1
    return train(folder, f"next-{len(method)}", STEPS, **changes)


def test_the_first_steps_are_those_of_the_longer_run(unbroken: Ran, half: Ran) -> None:
    assert half.weights_at(HALF) == unbroken.weights_at(HALF)


def test_a_run_that_became_longer_ends_with_the_weights_of_one_that_always_was(unbroken: Ran, longer: Ran) -> None:
    assert longer.weights_at(STEPS) == unbroken.weights_at(STEPS)
    assert longer.losses == unbroken.losses
    assert longer.report["training"]["tokensSeen"] == unbroken.report["training"]["tokensSeen"]
    assert longer.report["augmentation"] == unbroken.report["augmentation"]


def test_a_job_that_continues_another_ends_with_the_weights_of_one_run(unbroken: Ran, next_job: Ran) -> None:
    assert next_job.weights_at(STEPS) == unbroken.weights_at(STEPS)
    assert next_job.losses == unbroken.losses[HALF:]
    assert next_job.report["training"]["tokensSeen"] == unbroken.report["training"]["tokensSeen"]


def test_nothing_is_written_where_another_job_is_read(half: Ran, next_job: Ran) -> None:
    steps = [path.name for path in sorted((half.folder / "checkpoints").iterdir())]
    assert steps == [f"step-{step}" for step in range(1, HALF + 1)]
    own = {path.name for path in (next_job.folder / "checkpoints").iterdir()}
    assert own == {f"step-{step}" for step in range(HALF + 1, STEPS + 1)}


def test_report_and_record_say_what_was_continued_also_after_a_resume(longer: Ran, next_job: Ran) -> None:
    assert longer.report["continuedFrom"] == {"name": "support-bot", "step": HALF}
    assert next_job.report["continuedFrom"] == {"name": "first", "uid": "owner", "step": HALF}
    assert sent(next_job, "continued_from") == [ContinuedFrom(name="first", uid="owner", step=HALF)]
    assert sent(next_job, "resumed_from_step") == [HALF + 1]


def test_a_run_that_continues_nothing_says_so(unbroken: Ran) -> None:
    assert unbroken.report["continuedFrom"] is None
    assert sent(unbroken, "continued_from") == []


def test_the_base_model_is_measured_as_in_one_run(unbroken: Ran, longer: Ran, next_job: Ran) -> None:
    """Where all weights are trained, the base is gone: its figures come with the checkpoint."""
    figures = unbroken.report["baseline"]
    assert longer.report["baseline"] == next_job.report["baseline"] == figures


def test_the_best_of_a_longer_run_may_be_of_its_beginning_and_that_of_another_job_is_its_own(longer: Ran, next_job: Ran) -> None:
    assert longer.report["best"]["step"] >= 1
    assert next_job.report["best"]["step"] > HALF
    assert next_job.report["measuredStep"] in range(HALF + 1, STEPS + 1)


STOPPING = {"regularization": {"earlyStopping": {"patience": 2, "minDelta": 1000}}}


def test_the_patience_of_early_stopping_begins_anew_and_once(folder: Path) -> None:
    early = train(folder, "patience", 20, **STOPPING)
    assert (early.last_step, early.report["training"]["stoppedEarly"]) == (HALF, True), "the first sets the mark, and two miss it"
    train(folder, "patience", 21, stop_at=HALF + 2, **STOPPING)
    again = train(folder, "patience", 21, **STOPPING)
    assert again.ledger_at(HALF + 2)["evaluationsWithoutImprovement"] == 1
    assert (again.last_step, again.report["training"]["stoppedEarly"]) == (2 * HALF, True)


def test_a_job_whose_checkpoints_are_gone_is_named(folder: Path) -> None:
    first = train(folder, "lost", 1)
    shutil.rmtree(first.folder / "checkpoints")
    with pytest.raises(InputError, match=r"continueFrom\.fineTuneJob: no valid checkpoint of the job first is left in "):
        train(folder, "after-lost", 2, **earlier(first))


def test_a_damaged_newest_checkpoint_of_the_other_job_is_skipped_with_a_warning(folder: Path) -> None:
    first = train(folder, "torn", 2)
    (first.folder / "checkpoints" / "step-2" / "parameters.safetensors").write_bytes(b"torn")
    after = train(folder, "after-torn", 3, **earlier(first))
    assert after.report["continuedFrom"]["step"] == 1
    assert any("checkpoint step-2 is damaged and was skipped" in warning for warning in after.report["warnings"])


def test_a_checkpoint_of_a_version_that_recorded_no_length_is_continued_where_that_is_asked_for(folder: Path) -> None:
    train(folder, "old", 1, **STOPPING)
    checkpoint = folder / "old" / "checkpoints" / "step-1"
    state, manifest = (json.loads((checkpoint / name).read_text()) for name in ("state.json", "manifest.json"))
    state = {name: value for name, value in state.items() if name not in ("length", "continued")}
    (checkpoint / "state.json").write_text(json.dumps(state))
    from trainer.storage.digest import sha256_of

    manifest["sha256"]["state.json"] = sha256_of(checkpoint / "state.json")
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    assert train(folder, "old", 2, lengthen=True, **STOPPING).report["continuedFrom"] == {"name": "support-bot", "step": 1}
