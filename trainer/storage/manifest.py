"""Names and manifests of checkpoints. A manifest holds record, owner and the digest of each file, by which damage is found.

Needs no torch, so that a run that is finished is reported at once.
Test: tests/trainer/storage/test_checkpoint.py.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune.api.errors import InputError, RunError
from finetune.api.record import CheckpointRecord
from trainer.storage.digest import sha256_of
from trainer.storage.place import Place

CHECKPOINTS, STEP = "checkpoints", "step-"
MANIFEST_FILE = "manifest.json"


class TornCheckpointError(RunError):
    """A checkpoint's files are missing or do not have the digests of its manifest."""

    reason = "CheckpointDamaged"


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says about itself."""

    record: CheckpointRecord
    digests: Mapping[str, str]


def checkpoint_name(step: int) -> str:
    """Return the name of a step's checkpoint in the place of a run."""
    return f"{CHECKPOINTS}/{STEP}{step}"


def checkpoint_names(place: Place) -> dict[int, str]:
    """Return the checkpoints in the place of a run by step, valid or damaged."""
    numbers = ((name.removeprefix(f"{CHECKPOINTS}/{STEP}"), name) for name in place.names(CHECKPOINTS))
    return {int(number): name for number, name in numbers if number.isdigit()}


def write_manifest(folder: Path, record: CheckpointRecord, owner: str, known: Mapping[str, str]) -> None:
    """Write the manifest of the files in a folder, after all of them. `known` are digests of some, which are not read for it."""
    digests = {file.name: known.get(file.name) or sha256_of(file) for file in sorted(folder.iterdir())}
    manifest = {"owner": owner, "record": record.to_wire(), "sha256": digests}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def read_manifest(file: Path, owner: str) -> Manifest:
    """Return the manifest of `owner`'s checkpoint; the files that it names are not read.

    Raises TornCheckpointError when it cannot be read, InputError when the checkpoint belongs to another owner.
    """
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        record = CheckpointRecord.model_validate(manifest["record"])
        digests, written_by = dict(manifest["sha256"]), manifest["owner"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TornCheckpointError(f"{MANIFEST_FILE} cannot be read: {error}") from error
    if written_by != owner:
        problem = f"{file.parent} belongs to another job ({written_by[:8]}, this one is {owner[:8]})"
        raise InputError("output", problem, "choose another output folder")
    return Manifest(record, digests)


def verified(folder: Path, owner: str, known: Collection[str] = ()) -> CheckpointRecord:
    """Return the record of a checkpoint whose files all have the digests of its manifest; errors as `read_manifest`.

    Files in `known` are not read: those who wrote them have compared their digests.
    """
    manifest = read_manifest(folder / MANIFEST_FILE, owner)
    for name, digest in manifest.digests.items():
        if not (folder / name).is_file():
            raise TornCheckpointError(f"{name} is missing")
        if name in known:
            continue
        try:
            found = sha256_of(folder / name)
        except OSError as error:  # a disk that fails under one checkpoint may still give an earlier one
            raise TornCheckpointError(f"{name} cannot be read: {error}") from error
        if found != digest:
            raise TornCheckpointError(f"{name} is not what was written (sha256 differs)")
    return manifest.record
