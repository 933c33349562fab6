"""A checkpoint whose files somebody has replaced by pickles, with a manifest that says that they are right: it is refused, not unpickled.

Without a forged manifest the digests tell (tests/trainer/storage/test_checkpoint.py).
"""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from tests.trainer.fixtures.background import in_background
from trainer.storage.checkpoint import STATE_FILE, CheckpointStore
from trainer.storage.digest import sha256_of
from trainer.storage.localfolder import LocalFolder
from trainer.storage.manifest import MANIFEST_FILE


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._mark),)


def forged(folder: Path, name: str, *, by_torch: bool) -> CheckpointStore:
    """Return a store whose only checkpoint has a pickle in place of a file."""
    store, mark = CheckpointStore(LocalFolder(folder), "uid-1", 2), folder / "sprung"
    tensors = {"parameters": {"w": torch.ones(3)}}
    in_background(lambda: store.save(tensors, {"step": 10}, step=10, attempt=1, score=None))
    file = folder / "checkpoints" / "step-10" / name
    torch.save({"w": Trap(mark)}, file) if by_torch else file.write_bytes(pickle.dumps(Trap(mark)))
    manifest = json.loads((file.parent / MANIFEST_FILE).read_text())
    manifest["sha256"][name] = sha256_of(file)
    (file.parent / MANIFEST_FILE).write_text(json.dumps(manifest))
    with file.open("rb") as stream:
        torch.load(stream, weights_only=False) if by_torch else pickle.load(stream)
    assert mark.is_dir(), "the trap works"
    mark.rmdir()
    return store


@pytest.mark.parametrize("by_torch", [True, False], ids=["torch", "pickle"])
@pytest.mark.parametrize("name", ["parameters.safetensors", STATE_FILE])
def test_a_pickle_in_place_of_a_file_is_refused_and_not_run(tmp_path: Path, name: str, by_torch: bool) -> None:
    store = forged(tmp_path, name, by_torch=by_torch)
    with pytest.raises(ValueError):
        store.at_step(10).tensors().whole("parameters")
    assert not (tmp_path / "sprung").exists()
