"""The best weights are the result of a run, whatever came after them, as long as their checkpoint is valid."""

from pathlib import Path

import pytest
import torch

from finetune.api.metrics import MetricName, Score
from trainer.engine.state import StateSource
from trainer.rank.best import take_best_weights
from trainer.rank.ledger import Ledger
from trainer.rank.outbox import Outbox
from trainer.rank.resuming import forget_lost_best
from trainer.reporting.messages import Silent
from trainer.storage.checkpoint import CheckpointStore
from trainer.storage.localfolder import LocalFolder


class OneRank:
    """An engine that remembers what it loaded."""

    rank, world_size = 0, 1

    def __init__(self) -> None:
        self.loaded: list[float] = []

    def broadcast(self, value):
        return value

    def load_parameters(self, state: StateSource) -> None:
        self.loaded.append(float(state.read("parameters", "w", 0, 1)))


def score(perplexity: float, step: int) -> Score:
    return Score.of(MetricName.PERPLEXITY, perplexity, step)


def stored(folder: Path, perplexities: dict[int, float], keep: int = 1) -> CheckpointStore:
    """Return the store of a run that has trained to the last step of `perplexities`, with a checkpoint at each."""
    store = CheckpointStore(LocalFolder(folder), "owner", keep=keep)
    for step, perplexity in perplexities.items():
        tensors = {"w": torch.full((2,), float(step))}
        judged = None if perplexity is None else score(perplexity, step)
        store.save({"parameters": tensors, "exp_avg": tensors}, {"step": step}, step=step, attempt=1, score=judged)
    return store


@pytest.mark.parametrize(
    ("perplexities", "loaded"),
    [
        pytest.param({1: 9.0, 2: 5.0, 3: 7.0, 4: 8.0}, [2.0], id="earlier weights were better"),
        pytest.param({1: 9.0, 2: 5.0}, [], id="the last weights are the best"),
    ],
)
def test_the_weights_of_the_best_validation_are_taken(tmp_path: Path, perplexities: dict[int, float], loaded: list) -> None:
    engine = OneRank()
    take_best_weights(engine, stored(tmp_path, perplexities), Ledger(), Outbox(Silent()), max(perplexities))
    assert engine.loaded == loaded


def test_a_damaged_best_checkpoint_is_reported_and_the_last_weights_are_taken(tmp_path: Path) -> None:
    engine, store, outbox = OneRank(), stored(tmp_path, {1: 5.0, 2: 8.0}), Outbox(Silent())
    (tmp_path / "checkpoints" / "step-1" / "parameters.safetensors").write_bytes(b"torn")
    take_best_weights(engine, store, Ledger(), outbox, last_step=2)
    assert engine.loaded == []
    assert "the best checkpoint, of step 1, is damaged" in outbox.warnings[0]


def test_best_names_the_weights_that_were_taken_when_the_best_checkpoint_is_torn(tmp_path: Path) -> None:
    engine, store, ledger, outbox = OneRank(), stored(tmp_path, {1: 5.0, 2: 6.0, 3: 8.0}, keep=3), Ledger(), Outbox(Silent())
    ledger.note(best=score(5.0, step=1))
    (tmp_path / "checkpoints" / "step-1" / "parameters.safetensors").write_bytes(b"torn")

    step = take_best_weights(engine, store, ledger, outbox, last_step=3)

    assert (step, engine.loaded) == (2, [2.0])
    assert ledger.metrics.best == score(6.0, step=2)
    assert "of step 1, is damaged" in outbox.warnings[0]
    assert outbox.warnings[0].endswith("the weights of step 2 are used")
    assert [(record.step, record.best) for record in store.records] == [(2, True), (3, False)]


@pytest.mark.parametrize(("left", "best"), [({2: 6.0}, score(6.0, step=2)), ({2: None}, None)], ids=["another", "none"])
def test_a_best_checkpoint_that_a_resumed_run_does_not_find_is_best_no_more(
    tmp_path: Path, left: dict[int, float], best: Score | None
) -> None:
    ledger, outbox = Ledger(), Outbox(Silent())
    ledger.note(best=score(5.0, step=1))

    forget_lost_best(OneRank(), stored(tmp_path, left), ledger, outbox)

    assert ledger.metrics.best == best
    assert "the checkpoint of step 1, the best until then, is lost" in outbox.warnings[0]


def test_a_best_checkpoint_that_is_there_stays_the_best(tmp_path: Path) -> None:
    ledger, outbox = Ledger(), Outbox(Silent())
    ledger.note(best=score(5.0, step=1))

    forget_lost_best(OneRank(), stored(tmp_path, {1: 5.0, 2: 6.0}), ledger, outbox)

    assert ledger.metrics.best == score(5.0, step=1)
    assert outbox.warnings == []
