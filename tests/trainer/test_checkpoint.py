"""Checkpoints that are whole or not there, found again, and nobody else's."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainer.checkpoint import CheckpointStore, TornCheckpointError
from trainer.engine import EngineState


def state(value: float) -> EngineState:
    return EngineState({"w": torch.full((3,), value)}, {"w": torch.ones(3)}, {"w": torch.zeros(3)})


def store(folder: Path, owner: str = "uid-1", keep: int = 2) -> CheckpointStore:
    return CheckpointStore(folder, "pvc://models/job", owner, keep)


def save(checkpoints: CheckpointStore, step: int, perplexity: float | None = None) -> None:
    checkpoints.save(state(step), {"step": step}, step=step, attempt=1, perplexity=perplexity)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_what_was_saved_is_found_again_with_its_tensors_and_state(tmp_path: Path) -> None:
    save(store(tmp_path), 10, 3.5)
    found, warnings = store(tmp_path).newest()
    assert found is not None
    assert warnings == []
    assert found.trainer_state == {"step": 10}
    assert torch.equal(found.engine_state().parameters["w"], torch.full((3,), 10.0))
    assert (found.record.uri, found.record.perplexity, found.record.verified) == ("pvc://models/job/checkpoints/step-10", 3.5, True)


def test_the_newest_and_the_best_are_kept_and_nothing_else_is_visible(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    for step, perplexity in [(1, 9.0), (2, 5.0), (3, 7.0), (4, 8.0)]:
        save(checkpoints, step, perplexity)
    assert names(tmp_path) == ["step-2", "step-3", "step-4"]
    assert [(record.step, record.best) for record in checkpoints.records] == [(2, True), (3, False), (4, False)]


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("tear", "word"),
    [
        pytest.param(lambda path: flip_a_byte(path / "parameters.safetensors"), "sha256 differs", id="a flipped bit"),
        pytest.param(lambda path: (path / "exp-avg.safetensors").unlink(), "is missing", id="a missing file"),
        pytest.param(lambda path: (path / "manifest.json").write_text("{"), "cannot be read", id="a torn manifest"),
        pytest.param(lambda path: (path / "state.json").write_text(""), "sha256 differs", id="an empty state"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path: Path, tear, word: str) -> None:
    checkpoints = store(tmp_path)
    save(checkpoints, 10)
    save(checkpoints, 20)
    tear(tmp_path / "checkpoints" / "step-20")
    found, warnings = store(tmp_path).newest()
    assert found is not None
    assert found.record.step == 10
    assert len(warnings) == 1
    assert "step-20" in warnings[0]
    assert word in warnings[0]


def test_a_step_that_is_trained_again_replaces_the_damaged_one(tmp_path: Path) -> None:
    save(store(tmp_path), 20)
    flip_a_byte(tmp_path / "checkpoints" / "step-20" / "parameters.safetensors")
    again = store(tmp_path)
    assert again.newest()[0] is None
    save(again, 20)
    assert store(tmp_path).read(tmp_path / "checkpoints" / "step-20").record.step == 20


def test_another_owners_checkpoint_is_refused(tmp_path: Path) -> None:
    save(store(tmp_path, owner="uid-1"), 10)
    with pytest.raises(PermissionError, match="belongs to another job"):
        store(tmp_path, owner="uid-2").newest()


def test_a_write_that_does_not_reach_the_disk_as_it_was_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = store(tmp_path)
    publish = checkpoints._publish

    def damaging(staged: Path, step: int) -> Path:
        target = publish(staged, step)
        flip_a_byte(target / "parameters.safetensors")
        return target

    monkeypatch.setattr(checkpoints, "_publish", damaging)
    with pytest.raises(TornCheckpointError, match="sha256 differs"):
        save(checkpoints, 5)


def test_a_full_disk_leaves_the_earlier_checkpoints_and_no_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = store(tmp_path)
    save(checkpoints, 1)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.checkpoint.sync", full)
    with pytest.raises(OSError, match="No space left"):
        save(checkpoints, 2)
    assert names(tmp_path) == ["step-1"]
    assert not (tmp_path / ".finetune" / "staging").exists()


KILLED_WRITER = """
import os, sys, signal
from pathlib import Path
import trainer.checkpoint as module
from tests.trainer.test_checkpoint import save, store
original = module.sync
def die_at_third(path):
    original(path)
    die_at_third.calls += 1
    if die_at_third.calls == 3:
        os.kill(os.getpid(), signal.SIGKILL)
die_at_third.calls = 0
checkpoints = store(Path(sys.argv[1]))
save(checkpoints, 1)
module.sync = die_at_third
save(checkpoints, 2)
"""


def test_a_writer_killed_half_way_leaves_no_half_checkpoint(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(tmp_path)], env=env, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert names(tmp_path) == ["step-1"]
    found, warnings = store(tmp_path).newest()
    assert found is not None
    assert (found.record.step, warnings) == (1, [])
    save(store(tmp_path), 2)
    assert names(tmp_path) == ["step-1", "step-2"]


def test_the_manifest_names_every_file_with_its_digest(tmp_path: Path) -> None:
    save(store(tmp_path), 1)
    folder = tmp_path / "checkpoints" / "step-1"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(manifest["sha256"]) == sorted(path.name for path in folder.iterdir() if path.name != "manifest.json")
