"""Checkpoints: written aside, digested, published by rename, read back; and the newest sound one found again.

A folder `checkpoints/step-N` is either whole or it is not there: everything is written in `.finetune/staging` of the same
file system and renamed. A checkpoint that is written again is set aside until the new one is verified, and stands for its
step while that one's place is empty. What a crash or a bad disk tears is found by its digest and passed over with a warning.
Touches the job's output folder only. Test: tests/trainer/storage/test_checkpoint.py.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from finetune.api.errors import InputError, RunError
from finetune.api.metrics import Score, better
from finetune.api.record import CheckpointRecord
from finetune.api.results import checkpoint_folders
from finetune.system.files import sync
from trainer.engine.base import EngineState
from trainer.storage.digest import sha256_of

PARAMETERS_FILE, STATE_FILE, MANIFEST_FILE = "parameters.safetensors", "state.json", "manifest.json"


@dataclass(frozen=True)
class SavedState:
    """A checkpoint that was read back and whose digests agree."""

    path: Path
    record: CheckpointRecord
    trainer_state: Mapping[str, Any]

    def parameters(self) -> dict[str, Tensor]:
        """Read the trained parameters alone, float32 by name."""
        return dict(load_file(self.path / PARAMETERS_FILE))

    def engine_state(self) -> EngineState:
        """Read the parameters, and the optimizer's slots, which have a file each."""
        slots = {file.stem: load_file(file) for file in sorted(self.path.glob("*.safetensors")) if file.name != PARAMETERS_FILE}
        return EngineState(self.parameters(), slots)


class TornCheckpointError(RunError):
    """A checkpoint's files are missing or do not have the digests that its manifest says."""

    reason = "CheckpointDamaged"


class CheckpointStore:
    """The checkpoints of one job's output folder. `owner` is the job's UID, or the digest of its configuration."""

    def __init__(self, directory: Path, uri: str, owner: str, keep: int) -> None:
        self._folder = directory / "checkpoints"
        self._staging = directory / ".finetune" / "staging"
        self._uri, self._owner, self._keep = uri.rstrip("/"), owner, keep
        self.records: list[CheckpointRecord] = []

    def save(
        self, engine_state: EngineState, trainer_state: Mapping[str, Any], *, step: int, attempt: int, score: Score | None
    ) -> CheckpointRecord:
        """Publish and verify the checkpoint of `step`, then remove those that are kept no longer.

        Raises OSError when the disk fails, TornCheckpointError when what is read back is not what was written.
        """
        staged = self._staging / f"step-{step}"
        planned = CheckpointRecord(
            step=step,
            uri=self._uri_of(step),
            size_bytes=0,
            created_time=datetime.now(UTC),
            attempt=attempt,
            score=score,
            verified=True,
        )
        try:
            record = self._stage(staged, engine_state, trainer_state, planned)
            target = self._publish(staged, step)
        except OSError as error:
            raise OSError(f"the checkpoint of step {step} could not be written: {error}") from error
        finally:
            # On a full disk the half of it is in the way of everything else.
            shutil.rmtree(self._staging, ignore_errors=True)
        try:
            verified(target, self._owner)
        except TornCheckpointError as error:
            if _aside(target).exists():
                self._remove(target)
                _aside(target).rename(target)
            raise TornCheckpointError(f"the checkpoint of step {step} could not be written: {error}") from error
        self._remove_replaced()
        self.records = [kept for kept in self.records if kept.step != step] + [record]
        self._mark_best_and_prune()
        return record

    def _uri_of(self, step: int) -> str:
        return f"{self._uri}/checkpoints/step-{step}"

    def _stage(
        self, staged: Path, engine_state: EngineState, trainer_state: Mapping[str, Any], record: CheckpointRecord
    ) -> CheckpointRecord:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        try:
            save_file(engine_state.parameters, staged / PARAMETERS_FILE)
            for slot, values in engine_state.slots.items():
                save_file(values, staged / f"{slot}.safetensors")
        except SafetensorError as error:  # how safetensors tells of a disk that takes no more
            raise OSError(f"{staged} cannot be written: {error}") from error
        (staged / STATE_FILE).write_text(json.dumps(trainer_state), encoding="utf-8")
        sized = record.model_copy(update={"size_bytes": sum(file.stat().st_size for file in staged.iterdir())})
        self._write_manifest(staged, sized)
        return sized

    def _write_manifest(self, staged: Path, record: CheckpointRecord) -> None:
        digests = {file.name: sha256_of(file) for file in sorted(staged.iterdir())}
        manifest = {"owner": self._owner, "record": record.to_wire(), "sha256": digests}
        (staged / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for file in staged.iterdir():
            sync(file)
        sync(staged)

    def _publish(self, staged: Path, step: int) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"step-{step}"
        if target.exists():
            # A torn one, or the one whose validation is made up for: the only checkpoint there is, perhaps.
            if _aside(target).exists():
                self._remove(_aside(target))
            target.rename(_aside(target))
        staged.rename(target)
        sync(self._folder)
        return target

    def _remove(self, path: Path) -> None:
        # Out of sight in one step, so that a kill in between leaves no half-deleted checkpoint behind.
        self._staging.mkdir(parents=True, exist_ok=True)
        bin_path = self._staging / f"removed-{path.name}"
        shutil.rmtree(bin_path, ignore_errors=True)
        path.rename(bin_path)
        shutil.rmtree(bin_path, ignore_errors=True)

    def _remove_replaced(self) -> None:
        for path in self._folder.glob(".step-*"):
            if (self._folder / path.name.removeprefix(".")).exists():
                self._remove(path)

    def _mark_best_and_prune(self) -> None:
        self.records = mark_best(sorted(self.records, key=lambda record: record.step))
        newest = {record.step for record in self.records[-self._keep :]}
        for record in list(self.records):
            if record.step not in newest and not record.best:
                self._remove(self._place(record.step))
                self.records.remove(record)

    def newest(self) -> tuple[SavedState | None, list[str]]:
        """Return the newest sound checkpoint, if any, and a warning for each one that was passed over.

        Only as many are read whole as it takes to find a sound one; of those before it the manifests are believed, which
        say that they were verified when they were written. Raises InputError when a checkpoint belongs to another owner.
        """
        found: SavedState | None = None
        records: list[CheckpointRecord] = []
        warnings: list[str] = []
        for _, path in sorted(checkpoint_folders(self._folder.parent).items(), reverse=True):
            try:
                if found is None:
                    found = self.read(path)
                    records.append(found.record)
                else:
                    records.append(self._here(read_manifest(path, self._owner).record))
            except TornCheckpointError as error:
                warnings.append(f"checkpoint {path.name} is damaged and was passed over: {error}")
        self.records = mark_best(sorted(records, key=lambda record: record.step))
        return found, warnings

    def read(self, path: Path) -> SavedState:
        """Verify one checkpoint and return it; raises TornCheckpointError, or InputError when it is another owner's."""
        record = self._here(verified(path, self._owner))
        return SavedState(path, record, json.loads((path / STATE_FILE).read_text(encoding="utf-8")))

    def _here(self, record: CheckpointRecord) -> CheckpointRecord:
        # The folder may have been moved since.
        return record.model_copy(update={"uri": self._uri_of(record.step)})

    def best(self, at_hand: int | None = None) -> tuple[SavedState | None, list[str]]:
        """Return the best sound checkpoint, and what is wrong with each better one, which is left out of the records from now on.

        None when no validated one is left, and when it is that of the step `at_hand`, whose weights need not be read.
        """
        faults: list[str] = []
        while (best := best_score(self.records)) is not None and best.step != at_hand:
            try:
                return self.at_step(best.step), faults
            except TornCheckpointError as error:
                self.records = mark_best([record for record in self.records if record.step != best.step])
                faults.append(f"the best checkpoint, of step {best.step}, is damaged ({error})")
        return None, faults

    def at_step(self, step: int) -> SavedState:
        """Verify and return the checkpoint of a step."""
        return self.read(self._place(step))

    def _place(self, step: int) -> Path:
        return checkpoint_folders(self._folder.parent).get(step, self._folder / f"step-{step}")


def _aside(path: Path) -> Path:
    """Return where a checkpoint waits until the one that replaces it is verified."""
    return path.with_name(f".{path.name}")


def mark_best(records: Sequence[CheckpointRecord]) -> list[CheckpointRecord]:
    """Return the records with `best` on the one of the best score, the earliest of equals."""
    best = best_score(records)
    return [record.model_copy(update={"best": best is not None and record.step == best.step}) for record in records]


def best_score(records: Iterable[CheckpointRecord]) -> Score | None:
    """Return the best score of the records, the first of equals, or None when none was validated."""
    best: Score | None = None
    for record in records:
        if record.score is not None and better(record.score, best):
            best = record.score
    return best


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says of itself: its record, and the digest of each file."""

    record: CheckpointRecord
    digests: Mapping[str, str]


def read_manifest(path: Path, owner: str) -> Manifest:
    """Return the manifest of `owner`'s checkpoint; the files that it names are not read."""
    try:
        manifest = json.loads((path / MANIFEST_FILE).read_text(encoding="utf-8"))
        record = CheckpointRecord.model_validate(manifest["record"])
        digests, written_by = dict(manifest["sha256"]), manifest["owner"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TornCheckpointError(f"{MANIFEST_FILE} cannot be read: {error}") from error
    if written_by != owner:
        problem = f"{path} belongs to another job ({written_by[:8]}, this one is {owner[:8]})"
        raise InputError("output", problem, "choose another output folder")
    return Manifest(record, digests)


def verified(path: Path, owner: str) -> CheckpointRecord:
    """Return the record of a checkpoint whose files all have the digests of its manifest."""
    manifest = read_manifest(path, owner)
    for name, digest in manifest.digests.items():
        if not (path / name).is_file():
            raise TornCheckpointError(f"{name} is missing")
        try:
            found = sha256_of(path / name)
        except OSError as error:  # a disk that fails under one checkpoint may still give an earlier one
            raise TornCheckpointError(f"{name} cannot be read: {error}") from error
        if found != digest:
            raise TornCheckpointError(f"{name} is not what was written (sha256 differs)")
    return manifest.record
