"""The best weights are the result of a run, whatever came after them, as long as their checkpoint is sound."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from finetune.api.metrics import MetricName, Score
from tests.builders import train_config
from trainer.engine.base import EngineState
from trainer.rank.run import Run
from trainer.reporting.messages import Silent
from trainer.storage.checkpoint import CheckpointStore
from trainer.training.loop import Progress


class OneRank:
    """An engine that keeps what it was told to load."""

    rank, world_size = 0, 1

    def __init__(self) -> None:
        self.loaded: list[tuple[float, int]] = []

    def broadcast(self, value):
        return value

    def load_state(self, state: EngineState, steps_done: int) -> None:
        self.loaded.append((float(state.parameters["w"][0]), steps_done))


def score(perplexity: float, step: int) -> Score:
    return Score.of(MetricName.PERPLEXITY, perplexity, step)


def run_with(folder: Path, perplexities: dict[int, float], keep: int = 1) -> Run:
    """Return a run that has trained to the last step of `perplexities`, with a checkpoint at each."""
    run = Run(train_config(output={"directory": str(folder)}), SimpleNamespace(findings=()), "owner", Silent(), [])
    run.engine = OneRank()
    run.store = CheckpointStore(folder, str(folder), "owner", keep=keep)
    for step, perplexity in perplexities.items():
        tensors = {"w": torch.full((2,), float(step))}
        run.store.save(
            EngineState(tensors, {"exp_avg": tensors}),
            {"step": step},
            step=step,
            attempt=1,
            score=None if perplexity is None else score(perplexity, step),
        )
    return run


@pytest.mark.parametrize(
    ("perplexities", "loaded"),
    [
        pytest.param({1: 9.0, 2: 5.0, 3: 7.0, 4: 8.0}, [(2.0, 2)], id="earlier weights were better"),
        pytest.param({1: 9.0, 2: 5.0}, [], id="the last weights are the best"),
    ],
)
def test_the_weights_of_the_best_validation_are_taken(tmp_path: Path, perplexities: dict[int, float], loaded: list) -> None:
    run = run_with(tmp_path, perplexities)
    run.take_best_weights(Progress(total_steps=4, steps_per_epoch=1, step=max(perplexities)))
    assert run.engine.loaded == loaded


def test_a_damaged_best_checkpoint_is_told_and_the_last_weights_are_taken(tmp_path: Path) -> None:
    run = run_with(tmp_path, {1: 5.0, 2: 8.0})
    (tmp_path / "checkpoints" / "step-1" / "parameters.safetensors").write_bytes(b"torn")
    run.take_best_weights(Progress(total_steps=2, steps_per_epoch=1, step=2))
    assert run.engine.loaded == []
    assert "the best checkpoint, of step 1, is damaged" in run.warnings[0]


def test_best_names_the_weights_that_were_taken_when_the_best_checkpoint_is_torn(tmp_path: Path) -> None:
    run = run_with(tmp_path, {1: 5.0, 2: 6.0, 3: 8.0}, keep=3)
    run.ledger.note(best=score(5.0, step=1))
    (tmp_path / "checkpoints" / "step-1" / "parameters.safetensors").write_bytes(b"torn")

    step = run.take_best_weights(Progress(total_steps=3, steps_per_epoch=1, step=3))

    assert (step, run.engine.loaded) == (2, [(2.0, 2)])
    assert run.ledger.metrics.best == score(6.0, step=2)
    assert "of step 1, is damaged" in run.warnings[0]
    assert run.warnings[0].endswith("the weights of step 2 are taken")
    assert [(record.step, record.best) for record in run.store.records] == [(2, True), (3, False)]


@pytest.mark.parametrize(("left", "best"), [({2: 6.0}, score(6.0, step=2)), ({2: None}, None)], ids=["another", "none"])
def test_a_best_checkpoint_that_a_resumed_run_does_not_find_is_best_no_more(
    tmp_path: Path, left: dict[int, float], best: Score | None
) -> None:
    run = run_with(tmp_path, left)
    run.ledger.note(best=score(5.0, step=1))

    run.forget_lost_best()

    assert run.ledger.metrics.best == best
    assert "the checkpoint of step 1, the best until then, is lost" in run.warnings[0]


def test_a_best_checkpoint_that_is_there_stays_the_best(tmp_path: Path) -> None:
    run = run_with(tmp_path, {1: 5.0, 2: 6.0})
    run.ledger.note(best=score(5.0, step=1))

    run.forget_lost_best()

    assert run.ledger.metrics.best == score(5.0, step=1)
    assert run.warnings == []
