"""Checkpoints that are whole or not there, found again, and nobody else's."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from finetune.api.errors import InputError
from finetune.api.metrics import MetricName, Score
from finetune.api.record import CheckpointRecord
from tests.repository import REPOSITORY
from tests.trainer.fixtures.background import in_background
from trainer.storage.checkpoint import CheckpointStore
from trainer.storage.digest import sha256_of
from trainer.storage.localfolder import LocalFolder, StagedFolder
from trainer.storage.manifest import TornCheckpointError


def state(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"parameters": {"w": torch.full((3,), float(value))}, "exp_avg": {"w": torch.ones(3)}, "exp_avg_sq": {"w": torch.zeros(3)}}


def store(folder: Path, owner: str = "uid-1", keep: int = 2) -> CheckpointStore:
    return CheckpointStore(LocalFolder(folder, "pvc://models/job"), owner, keep)


def save(checkpoints: CheckpointStore, step: int, perplexity: float | None = None, within: bool | None = None) -> None:
    score = None if perplexity is None else Score.of(MetricName.PERPLEXITY, perplexity, step)
    in_background(lambda: checkpoints.save(state(step), {"step": step}, step=step, attempt=1, score=score, within_budget=within))


def value(record: CheckpointRecord) -> float | None:
    return None if record.score is None else record.score.value


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_what_was_saved_is_found_again_with_its_tensors_and_state(tmp_path: Path) -> None:
    save(store(tmp_path), 10, 3.5)
    found, warnings = store(tmp_path).newest()
    assert found is not None
    assert warnings == []
    assert found.trainer_state == {"step": 10}
    assert torch.equal(found.tensors().whole("parameters")["w"], torch.full((3,), 10.0))
    assert (found.record.uri, value(found.record), found.record.verified) == ("pvc://models/job/checkpoints/step-10", 3.5, True)


def test_each_group_of_tensors_has_a_file_and_is_read_back(tmp_path: Path) -> None:
    save(store(tmp_path), 10)
    folder = tmp_path / "checkpoints" / "step-10"
    assert {file.stem for file in folder.glob("*.safetensors")} == {"parameters", "exp_avg", "exp_avg_sq"}
    found = store(tmp_path).at_step(10).tensors()
    assert found.names() == {"exp_avg": ["w"], "exp_avg_sq": ["w"], "parameters": ["w"]}
    assert torch.equal(found.whole("exp_avg")["w"], torch.ones(3))


def test_the_newest_and_the_best_are_kept_and_nothing_else_is_visible(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    for step, perplexity in [(1, 9.0), (2, 5.0), (3, 7.0), (4, 8.0)]:
        save(checkpoints, step, perplexity)
    assert names(tmp_path) == ["step-2", "step-3", "step-4"]
    assert [(record.step, record.best) for record in checkpoints.records] == [(2, True), (3, False), (4, False)]


@pytest.mark.parametrize(
    ("saved", "best"),
    [
        pytest.param([(1, 9.0, True), (2, 7.0, True), (3, 5.0, False), (4, 4.0, False)], 2, id="the best score within it"),
        pytest.param([(1, None, True), (2, None, True), (3, None, False), (4, None, None)], 2, id="without scores the newest within it"),
        pytest.param([(1, 9.0, True), (2, None, True), (3, 5.0, False)], 1, id="a score decides where there is one"),
        pytest.param([(1, 9.0, False), (2, 7.0, False)], None, id="none is within it"),
    ],
)
def test_beyond_a_budget_no_checkpoint_is_the_best_and_the_best_within_it_is_kept(
    tmp_path: Path, saved: list[tuple[int, float | None, bool | None]], best: int | None
) -> None:
    checkpoints = store(tmp_path, keep=1)
    for step, perplexity, within in saved:
        save(checkpoints, step, perplexity, within)
    last = saved[-1][0]
    assert [(record.step, record.best) for record in checkpoints.records] == [
        *([(best, True)] if best is not None else []), (last, False)
    ]  # fmt: skip
    again = store(tmp_path, keep=1)
    again.newest()
    found, faults = again.best(last)
    assert (found and found.record.step, faults) == (best, [])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("tear", "word"),
    [
        pytest.param(lambda path: flip_a_byte(path / "parameters.safetensors"), "sha256 differs", id="a flipped bit"),
        pytest.param(lambda path: (path / "exp_avg.safetensors").unlink(), "is missing", id="a missing file"),
        pytest.param(lambda path: (path / "manifest.json").write_text("{"), "cannot be read", id="a torn manifest"),
        pytest.param(lambda path: (path / "state.json").write_text(""), "sha256 differs", id="an empty state"),
    ],
)
def test_a_damaged_checkpoint_is_skipped_with_a_warning(tmp_path: Path, tear, word: str) -> None:
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
    assert store(tmp_path).at_step(20).record.step == 20


def test_another_owners_checkpoint_is_refused(tmp_path: Path) -> None:
    save(store(tmp_path, owner="uid-1"), 10)
    with pytest.raises(InputError, match="belongs to another job"):
        store(tmp_path, owner="uid-2").newest()


def damage_on_the_way_to_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    flush = StagedFolder.flush

    def damaging(staged: StagedFolder) -> None:
        flush(staged)
        flip_a_byte(staged.folder / "parameters.safetensors")

    monkeypatch.setattr(StagedFolder, "flush", damaging)


def test_a_write_that_reaches_the_disk_damaged_is_reported_and_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage_on_the_way_to_the_disk(monkeypatch)
    with pytest.raises(TornCheckpointError, match=r"the checkpoint of step 5 could not be written: .*sha256 differs"):
        save(store(tmp_path), 5)
    assert not list((tmp_path / "checkpoints").iterdir())


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tests.trainer.storage.test_checkpoint import save, store
checkpoints = store(Path(sys.argv[1]))
save(checkpoints, 1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))
try:
    save(checkpoints, 2)
except OSError as error:
    print("refused:", error)
"""


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([sys.executable, "-c", program, *map(str, arguments)], env=env, capture_output=True, text=True, check=False)


def test_a_disk_that_takes_no_more_is_reported_and_leaves_the_earlier_checkpoints_and_no_remains(tmp_path: Path) -> None:
    done = run(FULL_DISK, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "refused: the checkpoint of step 2 could not be written: " in done.stdout
    assert names(tmp_path) == ["step-1"]
    assert not list(tmp_path.rglob(".*"))


def test_a_checkpoint_that_the_disk_does_not_give_back_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = store(tmp_path)
    save(checkpoints, 10)
    save(checkpoints, 20)

    def failing(file: Path) -> str:
        if "step-20" in str(file):
            raise OSError(5, "Input/output error")
        return sha256_of(file)

    monkeypatch.setattr("trainer.storage.manifest.sha256_of", failing)
    found, warnings = store(tmp_path).newest()
    assert found is not None
    assert found.record.step == 10
    assert "Input/output error" in warnings[0]


def test_only_the_checkpoint_that_a_run_goes_on_from_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = store(tmp_path)
    for step in (10, 20):
        save(checkpoints, step, 30.0 - step)
    read: list[str] = []
    monkeypatch.setattr("trainer.storage.manifest.sha256_of", lambda file: read.append(file.parent.name) or sha256_of(file))
    again = store(tmp_path)
    again.newest()
    assert set(read) == {"step-20"}
    assert [(record.step, record.best) for record in again.records] == [(10, False), (20, True)]


def test_checkpoints_in_a_folder_that_was_moved_are_named_where_they_are(tmp_path: Path) -> None:
    save(CheckpointStore(LocalFolder(tmp_path / "before", "/before"), "uid-1", 2), 10)
    (tmp_path / "before").rename(tmp_path / "after")
    found, _ = CheckpointStore(LocalFolder(tmp_path / "after", "/after"), "uid-1", 2).newest()
    assert found is not None
    assert found.record.uri == "/after/checkpoints/step-10"


KILLED_WRITER = """
import os, sys, signal
from pathlib import Path
import trainer.storage.localfolder as module
from tests.trainer.storage.test_checkpoint import save, store
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
    done = run(KILLED_WRITER, tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert names(tmp_path) == [".step-2.finetune-staged", "step-1"]
    found, warnings = store(tmp_path).newest()
    assert found is not None
    assert (found.record.step, warnings) == (1, [])
    save(store(tmp_path), 3)
    assert names(tmp_path) == ["step-1", "step-3"], "also where the step is not saved again, its remains are gone"


def test_the_manifest_names_every_file_with_its_digest(tmp_path: Path) -> None:
    save(store(tmp_path), 1)
    folder = tmp_path / "checkpoints" / "step-1"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(manifest["sha256"]) == sorted(path.name for path in folder.iterdir() if path.name != "manifest.json")


KILLED_WHILE_REPLACING = """
import os, signal, sys
from pathlib import Path
from tests.trainer.storage.test_checkpoint import save, store
rename, deaths = Path.rename, [int(sys.argv[2])]
def dying(path, target):
    done = rename(path, target)
    deaths[0] -= 1
    if deaths[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
checkpoints = store(Path(sys.argv[1]), keep=1)
checkpoints.newest()
Path.rename = dying
save(checkpoints, 1, 3.5)
"""


@pytest.mark.parametrize("renames", [1, 2, 3])
def test_a_kill_while_the_only_checkpoint_is_written_again_leaves_a_valid_one(tmp_path: Path, renames: int) -> None:
    save(store(tmp_path, keep=1), 1)
    assert run(KILLED_WHILE_REPLACING, tmp_path, str(renames)).returncode == -signal.SIGKILL

    again = store(tmp_path, keep=1)
    found, warnings = again.newest()
    assert found is not None
    assert (found.record.step, value(found.record), warnings) == (1, None if renames == 1 else 3.5, [])
    assert torch.equal(found.tensors().whole("parameters")["w"], torch.full((3,), 1.0))
    assert again.at_step(1).record == found.record
    save(again, 2)
    assert names(tmp_path) == (["step-2"] if renames == 1 else ["step-1", "step-2"]), "only the best is kept besides the newest"


def test_a_checkpoint_that_is_written_again_and_not_given_back_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = store(tmp_path, keep=1)
    save(checkpoints, 5)
    damage_on_the_way_to_the_disk(monkeypatch)
    with pytest.raises(TornCheckpointError):
        save(checkpoints, 5, 3.5)
    found, warnings = store(tmp_path, keep=1).newest()
    assert found is not None
    assert (value(found.record), warnings, names(tmp_path)) == (None, [], ["step-5"])
