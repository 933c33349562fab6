"""What a resumed run goes on with: one rank in this process, stopped after a step and started again, beside an unbroken one."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from finetune.api.record import Metrics, Stage
from tests.builders import REMOVED, train_config
from tests.trainer.fixtures.causal import tiny_learner
from tests.trainer.fixtures.rows import write_rows
from tests.trainer.fixtures.stored import data_folder
from trainer.engine.ddp import DdpEngine
from trainer.preflight.inputs import check_inputs
from trainer.rank.assignment import Assignment
from trainer.rank.run import execute

STEPS, STOP_AT = 6, 3


class Driver:
    """Takes what a run sends, and wants it to stop once a step is done."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.sent: list[dict[str, Any]] = []
        self._stop_at = stop_at

    def send(self, **fields: Any) -> None:
        self.sent.append(fields)

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        steps = [fields["progress"].step for fields in self.sent if fields.get("progress")]
        return self._stop_at is not None and bool(steps) and steps[-1] >= self._stop_at


@dataclass(frozen=True)
class Ran:
    """What a run said and left."""

    folder: Path
    driver: Driver
    passes: list[tuple[bool, int]]
    """Of each forward pass, whether it trains, and its tokens including padding."""

    @property
    def metrics(self) -> Metrics:
        """The newest that were sent."""
        found: Metrics = [changes["metrics"] for changes in self.driver.sent if "metrics" in changes][-1]
        return found

    @property
    def report(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return content

    @property
    def last_step(self) -> int:
        """The step of the newest checkpoint that was reported."""
        reported = [changes["checkpoints"] for changes in self.driver.sent if "checkpoints" in changes]
        return int(reported[-1][-1].step)

    @property
    def losses(self) -> list[tuple[int, float, float]]:
        """Step, loss and gradient norm of each line of metrics.jsonl that has them."""
        lines = map(json.loads, (self.folder / "metrics.jsonl").read_text().splitlines())
        return [(line["step"], line["trainLoss"], line["gradientNorm"]) for line in lines if "trainLoss" in line]

    def ledger_at(self, step: int) -> dict[str, Any]:
        """Return the ledger in the checkpoint of a step."""
        state = json.loads((self.folder / "checkpoints" / f"step-{step}" / "state.json").read_text())
        ledger: dict[str, Any] = state["ledger"]
        return ledger

    def weights_at(self, step: int) -> bytes:
        """Return the parameters in the checkpoint of a step, which safetensors writes in the order of their names."""
        return (self.folder / "checkpoints" / f"step-{step}" / "parameters.safetensors").read_bytes()


def stages(ran: Ran) -> list[Stage]:
    """Return the stages that a run reported."""
    return [changes["stage"] for changes in ran.driver.sent if "stage" in changes]


def run(folder: Path, output: str, stop_at: int | None = None, *, late: bool = False, **changes: Any) -> Ran:
    """Take a run of this folder to its end, or to the stop; in `output` it goes on from what lies there."""
    defaults: dict[str, Any] = {
        "data": {name: [{"path": str(folder / f"{name}.jsonl")}] for name in ("train", "validation", "test")},
        "method__lora__alpha": 8,
        "method__lora__dropout": 0.1,
        "training": {"maxSteps": STEPS, "globalBatchSize": 4, "microBatchSize": 2, "learningRate": 0.01, "maxSequenceLength": 128},
        # No decrease is large enough to count, so that the count of validations without improvement goes up.
        "regularization": {"dropout": 0.2, "earlyStopping": {"patience": 9, "minDelta": 1000}},
        "augmentation": {"operations": [{"wordSwap": {"probability": 0.3}}], "augmentedShare": 0.8},
        "evaluation": {"everySteps": 1, "metrics": ["perplexity"]},
        "output": {"directory": str(folder / output)},
        "progress": {"file": str(folder / output / "progress.json")},
    }
    config = train_config(folder, **(defaults | changes))
    (folder / output).mkdir(exist_ok=True)
    data = data_folder(folder / output / ".finetune")
    ran, forward = Ran(folder / output, Driver(stop_at), []), DdpEngine.forward

    def watched(engine: DdpEngine, **inputs: Any) -> Tensor:
        ran.passes.append((torch.is_grad_enabled(), inputs["input_ids"].numel()))
        return forward(engine, **inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DdpEngine, "forward", watched)
        patch.setattr(DdpEngine, "asynchronous", late)
        execute(Assignment(config, check_inputs(config, data, rehearse_here=True).with_tokens(config, data), "owner", ran.driver))
    return ran


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    tiny_learner(folder / "model")
    for offset, (name, count) in enumerate({"train": 24, "validation": 3, "test": 3}.items()):
        write_rows(folder / f"{name}.jsonl", count, offset=100 * offset)
    return folder


@pytest.fixture(scope="module")
def unbroken(folder: Path) -> Ran:
    return run(folder, "unbroken")


@pytest.fixture(scope="module")
def broken(folder: Path) -> tuple[Ran, Ran]:
    """Return the stopped run, and the one that went on."""
    return run(folder, "broken", stop_at=STOP_AT), run(folder, "broken")


def test_a_resumed_run_begins_with_the_figures_that_the_stopped_one_had(broken: tuple[Ran, Ran]) -> None:
    stopped, resumed = broken
    first = next(changes for changes in resumed.driver.sent if changes.get("resumed_from_step"))
    assert first["resumed_from_step"] == resumed.report["training"]["resumedFromStep"] == STOP_AT
    assert first["metrics"] == stopped.metrics
    assert set(first["metrics"].latest) == {"trainLoss", "perplexity", "bitsPerByte"}
    assert first["metrics"].best is not None
    assert [checkpoint.step for checkpoint in first["checkpoints"]] == [1, 2, 3]


def test_a_resumed_run_ends_with_the_ledger_of_an_unbroken_one(unbroken: Ran, broken: tuple[Ran, Ran]) -> None:
    _, resumed = broken
    assert resumed.ledger_at(STEPS) == unbroken.ledger_at(STEPS)
    assert unbroken.ledger_at(STEPS)["evaluationsWithoutImprovement"] == STEPS - 1
    assert resumed.metrics == unbroken.metrics
    assert unbroken.metrics.final


def test_tokens_and_augmented_words_are_counted_over_the_whole_run(unbroken: Ran, broken: tuple[Ran, Ran]) -> None:
    whole, resumed = unbroken.report, broken[1].report
    assert resumed["training"]["tokensSeen"] == whole["training"]["tokensSeen"] > 0
    assert resumed["augmentation"] == whole["augmentation"]
    assert whole["augmentation"]["wordsChanged"] > 0


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(unbroken: Ran, broken: tuple[Ran, Ran]) -> None:
    _, resumed = broken
    assert resumed.weights_at(STEPS) == unbroken.weights_at(STEPS)
    exported = "model/adapter/adapter_model.safetensors"
    assert (resumed.folder / exported).read_bytes() == (unbroken.folder / exported).read_bytes()


def test_figures_that_are_read_late_are_stored_in_full_and_a_resume_goes_on_bit_for_bit(folder: Path, unbroken: Ran) -> None:
    seldom: dict[str, Any] = {"evaluation__everySteps": STEPS}
    whole = run(folder, "at-once", **seldom)
    stopped, resumed = run(folder, "late", stop_at=2, late=True, **seldom), run(folder, "late", late=True, **seldom)
    assert stopped.last_step == 5, "asked in step 4, which is read once step 5 is launched"
    assert resumed.weights_at(STEPS) == whole.weights_at(STEPS)
    assert resumed.ledger_at(STEPS) == whole.ledger_at(STEPS)
    assert resumed.losses == whole.losses
    assert [step for step, *_ in whole.losses] == list(range(1, STEPS + 1))


def test_the_base_model_is_measured_after_training_and_hides_no_newer_score(unbroken: Ran, broken: tuple[Ran, Ran]) -> None:
    assert stages(unbroken) == [Stage.TRAINING, Stage.BASELINE, Stage.FINAL, Stage.EXPORTING]
    stopped, resumed = broken
    assert (stages(stopped), stopped.metrics.baseline) == ([Stage.TRAINING], {})
    assert resumed.metrics.baseline == unbroken.metrics.baseline
    assert unbroken.metrics.baseline["perplexity"] == unbroken.report["baseline"]["perplexity"]["value"]
    scores = [changes["metrics"].score.step for changes in unbroken.driver.sent if "metrics" in changes and changes["metrics"].score]
    assert scores == sorted(scores)
    assert scores[0] == 1


def test_the_base_model_is_measured_before_all_of_its_weights_are_trained_and_once(folder: Path) -> None:
    full: dict[str, Any] = {"method__lora": REMOVED, "method__full": {}, "output__export": ["merged"]}
    stopped, resumed = run(folder, "full", stop_at=STOP_AT, **full), run(folder, "full", **full)
    assert stages(stopped) == [Stage.BASELINE, Stage.TRAINING]
    assert stages(resumed) == [Stage.TRAINING, Stage.FINAL, Stage.EXPORTING]
    [first, *_] = (changes["metrics"] for changes in stopped.driver.sent if "metrics" in changes)
    assert (first.score.step, first.baseline) == (0, resumed.metrics.baseline)


def test_evaluation_takes_no_more_tokens_at_once_than_training(unbroken: Ran) -> None:
    trained, evaluated = ({tokens for trains, tokens in unbroken.passes if trains is wanted} for wanted in (True, False))
    assert 0 < max(evaluated) <= max(trained)


def test_a_second_stop_in_the_owed_validation_leaves_the_checkpoint_as_it_is(folder: Path) -> None:
    checkpoint = folder / "twice" / "checkpoints" / f"step-{STOP_AT}"
    run(folder, "twice", stop_at=STOP_AT)
    written = checkpoint.stat().st_ino

    again = run(folder, "twice", stop_at=STOP_AT)
    assert [changes["resumed_from_step"] for changes in again.driver.sent if "resumed_from_step" in changes] == [STOP_AT]
    assert (again.ledger_at(STOP_AT)["owesValidation"], checkpoint.stat().st_ino) == (True, written)

    resumed = run(folder, "twice")
    assert [fields["metrics"].validated.step for fields in resumed.driver.sent if "metrics" in fields][1] == STOP_AT
    [*_, kept] = (changes["checkpoints"] for changes in resumed.driver.sent if "checkpoints" in changes)
    assert {record.step for record in kept if record.score is not None} >= {STOP_AT + 1}
