"""The best weights are the result of a run, whatever came after them, as long as their checkpoint is sound."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.trainer.test_progress import config
from trainer.checkpoint import CheckpointStore
from trainer.engine import EngineState
from trainer.hooks import Silent
from trainer.loop import Progress
from trainer.run import Run


class OneRank:
    """An engine that keeps what it was told to load."""

    rank, world_size = 0, 1

    def __init__(self) -> None:
        self.loaded: list[tuple[float, int]] = []

    def broadcast(self, value):
        return value

    def load_state(self, state: EngineState, steps_done: int) -> None:
        self.loaded.append((float(state.parameters["w"][0]), steps_done))


def run_with(folder: Path, perplexities: dict[int, float]) -> Run:
    """Return a run that has trained to the last step of `perplexities`, with a checkpoint at each."""
    run = Run(config(folder), SimpleNamespace(findings=()), "owner", Silent(), [])
    run.engine = OneRank()
    run.store = CheckpointStore(folder, str(folder), "owner", keep=1)
    for step, perplexity in perplexities.items():
        tensors = {"w": torch.full((2,), float(step))}
        run.store.save(EngineState(tensors, tensors, tensors), {"step": step}, step=step, attempt=1, perplexity=perplexity)
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
