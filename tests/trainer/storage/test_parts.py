"""A checkpoint that several ranks write: whole or not there, whichever of them fails or is killed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from finetune.api.record import CheckpointRecord
from tests.repository import REPOSITORY
from tests.trainer.fixtures.background import in_background
from tests.trainer.fixtures.ranks import ThreadRank, on_all_ranks
from trainer.storage import parts
from trainer.storage.checkpoint import CheckpointStore
from trainer.storage.localfolder import LocalFolder
from trainer.storage.parts import WrittenPart

GROUPS = ("parameters", "exp_avg", "exp_avg_sq")


def part(rank: int, value: float) -> Any:
    """Return one of two ranks' part of ten numbers, all `value`."""
    own = [(0, 6), (6, 10)][rank]
    return SimpleNamespace(
        shapes={"w": (5, 2)}, ranges={"w": own}, groups={group: {"w": torch.full((own[1] - own[0],), value)} for group in GROUPS}
    )


def store(folder: Path) -> CheckpointStore:
    return CheckpointStore(LocalFolder(folder), "uid-1", keep=2)


def save(folder: Path, step: int) -> list[CheckpointRecord | str | None]:
    """Save a checkpoint as two ranks; return the record that each got, or its error."""

    def one(ranks: ThreadRank) -> CheckpointRecord | str | None:
        own = part(ranks.rank, float(step))
        try:
            return in_background(lambda: store(folder).save_parts(own, ranks, {"step": step}, step=step, attempt=1, score=None))
        except OSError as error:
            return str(error)

    return on_all_ranks(2, one)


def values(folder: Path) -> tuple[int, set[float]] | None:
    """Return the step of the newest valid checkpoint and the numbers in it."""
    found, warnings = store(folder).newest()
    assert warnings == []
    if found is None:
        return None
    tensors = found.tensors()
    return found.record.step, {float(value) for group in GROUPS for value in tensors.whole(group)["w"].flatten()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_each_rank_writes_its_part_and_rank_0_publishes(tmp_path: Path) -> None:
    record, nothing = save(tmp_path, 4)
    assert isinstance(record, CheckpointRecord)
    assert nothing is None
    folder = tmp_path / "checkpoints" / "step-4"
    written = [f"{group}-{rank}-of-2.safetensors" for group in GROUPS for rank in (1, 2)]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*written, "manifest.json", "parts.json", "state.json"])
    assert record.size_bytes == sum(path.stat().st_size for path in folder.iterdir() if path.name != "manifest.json")
    assert values(tmp_path) == (4, {4.0})


@pytest.mark.parametrize("rank", [1, 2])
def test_a_part_that_a_disk_damages_later_is_found_by_its_digest(tmp_path: Path, rank: int) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    file = tmp_path / "checkpoints" / "step-2" / f"exp_avg-{rank}-of-2.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    found, [warning] = store(tmp_path).newest()
    assert found is not None
    assert found.record.step == 1
    assert f"exp_avg-{rank}-of-2.safetensors is not what was written" in warning


@pytest.mark.parametrize("failing", [1, 2])
def test_a_rank_whose_disk_fails_fails_the_checkpoint_and_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    save(tmp_path, 1)
    write = parts.write_tensors

    def fail(file: Path, tensors: Any) -> None:
        if file.name == f"exp_avg-{failing}-of-2.safetensors":
            raise OSError(28, "No space left on device")
        write(file, tensors)

    monkeypatch.setattr(parts, "write_tensors", fail)
    error, other = save(tmp_path, 2)
    assert isinstance(error, str)
    assert isinstance(other, str)
    assert error == other
    assert "the checkpoint of step 2 could not be written" in error
    assert "No space left on device" in error
    assert (names(tmp_path), values(tmp_path)) == (["step-1"], (1, {1.0}))


def test_a_part_that_the_disk_gives_back_otherwise_fails_the_checkpoint_on_all_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage(file: Path) -> None:
        if file.name == "exp_avg-2-of-2.safetensors":
            file.write_bytes(file.read_bytes()[:-1] + b"!")

    monkeypatch.setattr(parts, "drop_cached", damage)
    errors = save(tmp_path, 1)
    assert ["exp_avg-2-of-2.safetensors is not what was written" in str(error) for error in errors] == [True, True]
    assert names(tmp_path) == []


def test_ranks_that_do_not_share_a_volume_are_told(tmp_path: Path) -> None:
    written = WrittenPart({"w": (0, 3)}, {"parameters-2-of-2.safetensors": "0"}, {"parameters-2-of-2.safetensors": 20})
    with pytest.raises(OSError, match="all nodes need the same volume"):
        written.found_in(tmp_path)


KILLED_AT_EACH_STEP = """
import itertools, os, signal, sys
from pathlib import Path
import torch
from tests.trainer.storage.test_parts import names, save, values

torch.set_num_threads(1)
root = Path(sys.argv[1])

def save_until(folder, step):
    calls = itertools.count()

    def hook(event, arguments):
        if event.partition(".")[0] in ("open", "os", "shutil") and next(calls) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        sys.addaudithook(hook)
        try:
            save(folder, 2)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] != 0

seen = []
for step in itertools.count():
    folder = root / str(step)
    save(folder, 1)
    killed = save_until(folder, step)
    seen.append(values(folder))
    save(folder, 3)
    assert values(folder) == (3, {3.0})
    assert names(folder)[-1] == "step-3" and not any(name.startswith(".") for name in names(folder)), names(folder)
    if not killed:
        break
print([step for step, _ in seen])
assert all(numbers == {float(number)} for number, numbers in seen)
"""


def test_ranks_killed_at_any_step_leave_the_checkpoint_before_or_the_new_one(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", KILLED_AT_EACH_STEP, str(tmp_path)], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    steps = json.loads(done.stdout)
    assert steps == sorted(steps)
    assert set(steps) == {1, 2}
    assert steps.count(1) > 20, "the kills must have come in the middle"
