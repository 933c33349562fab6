"""What a resumed run goes on with: one rank in this process, stopped after a step and started again, beside an unbroken one."""

import json
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from finetune.api.trainconfig import TrainConfig
from tests.trainer.fixtures.causal import tiny_learner
from tests.trainer.fixtures.rows import write_rows
from trainer.preflight.inputs import check_inputs
from trainer.rank.run import Run

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


class WatchedRun(Run):
    """A run that notes how many rows each forward pass takes."""

    def load(self) -> None:
        super().load()
        self.rows_of_passes: list[int] = []
        forward = self.engine.forward

        def watched(**inputs: Any) -> Tensor:
            self.rows_of_passes.append(len(inputs["input_ids"]))
            return forward(**inputs)

        setattr(self.engine, "forward", watched)  # noqa: B010 - mypy lets no method be assigned


def run(folder: Path, output: str, stop_at: int | None = None) -> tuple[WatchedRun, Driver]:
    """Take a run of this folder to its end, or to the stop; in `output` it goes on from what lies there."""
    config = TrainConfig.model_validate({
        "job": {"name": "tiny"}, "task": "chat", "model": {"path": str(folder / "model")},
        "data": {name: [{"path": str(folder / f"{name}.jsonl")}] for name in ("train", "validation", "test")},
        "method": {"lora": {"rank": 4, "alpha": 8}},
        "training": {"maxSteps": STEPS, "globalBatchSize": 4, "microBatchSize": 2, "learningRate": 0.01, "maxSequenceLength": 128},
        # No decrease is large enough to count, so that the count of validations without improvement goes up.
        "regularization": {"dropout": 0.2, "earlyStopping": {"patience": 9, "minDelta": 1000}},
        "augmentation": {"operations": [{"wordSwap": {"probability": 0.3}}], "augmentedShare": 0.8},
        "evaluation": {"everySteps": 1, "metrics": ["perplexity"]},
        "output": {"directory": str(folder / output)}, "progress": {"file": str(folder / output / "progress.json")},
    })  # fmt: skip
    (folder / output).mkdir(exist_ok=True)
    driver = Driver(stop_at)
    finished = WatchedRun(config, check_inputs(config), "owner", driver, [])
    finished.execute()
    return finished, driver


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    tiny_learner(folder / "model")
    for offset, (name, count) in enumerate({"train": 24, "validation": 3, "test": 3}.items()):
        write_rows(folder / f"{name}.jsonl", count, offset=100 * offset)
    return folder


@pytest.fixture(scope="module")
def unbroken(folder: Path) -> WatchedRun:
    return run(folder, "unbroken")[0]


@pytest.fixture(scope="module")
def broken(folder: Path) -> tuple[Run, Run, Driver]:
    """Return the stopped run, the one that went on, and what the latter sent."""
    stopped, _ = run(folder, "broken", stop_at=STOP_AT)
    return (stopped, *run(folder, "broken"))


def report(folder: Path, output: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / output / "report.json").read_text())
    return content


def test_a_resumed_run_begins_with_the_figures_that_the_stopped_one_had(broken: tuple[Run, Run, Driver]) -> None:
    stopped, resumed, driver = broken
    first = next(fields for fields in driver.sent if fields.get("resumed_from_step"))
    assert first["resumed_from_step"] == resumed.resumed_from_step == STOP_AT
    assert first["metrics"] == stopped.ledger.metrics
    assert set(first["metrics"].latest) == {"trainLoss", "perplexity", "bitsPerByte"}
    assert first["metrics"].best is not None
    assert [checkpoint.step for checkpoint in first["checkpoints"]] == [1, 2, 3]


def test_a_resumed_run_ends_with_the_ledger_of_an_unbroken_one(unbroken: Run, broken: tuple[Run, Run, Driver]) -> None:
    _, resumed, _ = broken
    assert resumed.ledger.to_state() == unbroken.ledger.to_state()
    assert unbroken.ledger.evaluations_without_improvement == STEPS - 1


def test_tokens_and_augmented_words_are_counted_over_the_whole_run(folder: Path, unbroken: Run, broken: tuple[Run, Run, Driver]) -> None:
    whole, resumed = report(folder, "unbroken"), report(folder, "broken")
    assert resumed["training"]["tokensSeen"] == whole["training"]["tokensSeen"] > 0
    assert resumed["augmentation"] == whole["augmentation"]
    assert whole["augmentation"]["wordsChanged"] > 0


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(unbroken: Run, broken: tuple[Run, Run, Driver]) -> None:
    expected, found = unbroken.engine.state().parameters, broken[1].engine.state().parameters
    assert found.keys() == expected.keys()
    assert all(bool((found[name] == expected[name]).all()) for name in expected)


def test_evaluation_takes_no_more_rows_at_once_than_training(unbroken: WatchedRun) -> None:
    # Three rows are validated and tested, so there is a pass of two and one of one row.
    assert set(unbroken.rows_of_passes) == {1, 2}


def test_a_second_stop_in_the_owed_validation_leaves_the_checkpoint_as_it_is(folder: Path) -> None:
    checkpoint = folder / "twice" / "checkpoints" / f"step-{STOP_AT}"
    run(folder, "twice", stop_at=STOP_AT)
    written = checkpoint.stat().st_ino

    again, _ = run(folder, "twice", stop_at=STOP_AT)
    assert (again.resumed_from_step, again.ledger.owes_validation, checkpoint.stat().st_ino) == (STOP_AT, True, written)

    resumed, driver = run(folder, "twice")
    assert [fields["metrics"].validated.step for fields in driver.sent if "metrics" in fields][1] == STOP_AT
    assert {record.step for record in resumed.store.records if record.score is not None} >= {STOP_AT + 1}
