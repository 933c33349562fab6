"""Whose output folder is it, and may this run write there: run.json says so, and is checked before anything is written.

Test: tests/trainer/storage/test_ownership.py.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from finetune.api.errors import InputError
from finetune.api.lineage import differing_field
from finetune.api.sections import Method
from finetune.api.tasks import TaskName
from finetune.api.trainconfig import TrainConfig, digest_of_lineage
from finetune.system.files import write_atomically

RUN_FILE = "run.json"
TIME_FIELD = "the time that the chat template shows"
"""Among the digests: the ISO time that a template which reads the clock takes for now, in every attempt and on every rank."""


@dataclass(frozen=True)
class Ownership:
    """A run's claim on an output folder. `digests` are of what its files hold, by field, because paths may change."""

    directory: Path
    name: str
    uid: str | None
    lineage: dict[str, Any]
    lineage_digest: str
    digests: dict[str, str]

    @classmethod
    def of(cls, config: TrainConfig, digests: dict[str, str]) -> "Ownership":
        """Return the claim of one run."""
        directory = Path(config.output.directory)
        return cls(directory, config.job.name, config.job.uid, config.lineage(), config.lineage_digest(), digests)

    @classmethod
    def recorded(cls, directory: Path) -> "Ownership":
        """Return the claim of the run that a folder holds, as its record says; InputError where there is none that can be read."""
        path = directory / RUN_FILE
        if not path.is_file():
            raise InputError("DIR", f"{directory} holds no run: it has no {RUN_FILE}", "name the folder that a run was written to")
        written = _read(path, "DIR", "bring it back as it was, or name the folder of another run", to_export=True)
        lineage = written.lineage
        return cls(directory, written.owner.name, written.owner.uid, lineage, digest_of_lineage(lineage), written.digests)

    @property
    def owner(self) -> str:
        """What its checkpoints are marked with: the job's UID on a cluster, else a digest of configuration and content."""
        content = hashlib.sha256(json.dumps(self.digests, sort_keys=True).encode()).hexdigest()
        return self.uid or f"{self.lineage_digest[:32]}{content[:32]}"

    def finished(self) -> bool:
        """Check the folder against the claim; tell whether this very run is finished already.

        Raises InputError when the folder holds another job's run, or a run with another configuration or other data.
        """
        path = self.directory / RUN_FILE
        if not path.is_file():
            if (self.directory / "checkpoints").exists():
                raise InputError("output", f"{self.directory} has checkpoints but no {RUN_FILE} that says whose", "choose another folder")
            return False
        self._check_same_run(written := _read(path))
        return written.finished

    def _check_same_run(self, written: "_Record") -> None:
        fix = "choose another output folder, or begin anew with --overwrite"
        owner = written.owner
        if owner.uid != self.uid or owner.name != self.name:
            raise InputError("output", f"{self.directory} belongs to the job {owner.name!r} ({owner.uid or 'local'})", fix)
        field = differing_field(written.lineage, self.lineage) if self.uid is None else None
        if field is not None:
            raise InputError(field, f"is not what it was in the run that {self.directory} holds", fix)
        changed = next((field for field, digest in self.digests.items() if written.digests.get(field) != digest), None)
        if changed is not None:
            # Also within one job: its ConfigMap or data set may have changed since the attempt before.
            again = fix if self.uid is None else "bring it back as it was, or begin a new job"
            raise InputError(changed, f"holds something else than in the run that {self.directory} holds", again)

    def write(self, *, finished: bool) -> None:
        """Write the claim down; atomic."""
        self.directory.mkdir(parents=True, exist_ok=True)
        content = {
            "owner": {"uid": self.uid, "name": self.name}, "lineage": self.lineage, "digests": self.digests, "finished": finished,
        }  # fmt: skip
        write_atomically(self.directory / RUN_FILE, json.dumps(content, indent=1), durable=True)


def recorded_time(directory: Path) -> str | None:
    """Return the time that the folder's run took for now, None where it holds none or its template reads no clock."""
    path = directory / RUN_FILE
    return _read(path).digests.get(TIME_FIELD) if path.is_file() else None


def no_checkpoint_left(directory: Path, uid: str | None) -> InputError:
    """Return the error of a finished run whose results are gone and cannot be made again; `uid` is that of a cluster's job."""
    fix = f"bring its checkpoints back, or begin {'anew with --overwrite' if uid is None else 'a new job'}"
    return InputError("output", f"the run in {directory} is finished, but no sound checkpoint of it is left", fix)


class _Owner(BaseModel):
    uid: str | None
    name: str


class _Record(BaseModel):
    """The content of run.json."""

    owner: _Owner
    lineage: dict[str, Any]
    digests: dict[str, str]
    finished: bool


class _Model(BaseModel):
    name: str | None = None
    revision: str | None = None


class _Lineage(BaseModel):
    """What an export reads of a lineage; a run compares it, field by field, with its own."""

    method: Method
    task: TaskName
    model: _Model


def _read(path: Path, field: str = "output", fix: str = "choose another output folder", *, to_export: bool = False) -> _Record:
    try:
        written = _Record.model_validate_json(path.read_bytes())
        if to_export:
            _Lineage.model_validate(written.lineage)
        return written
    except ValidationError as error:
        problem = f"{path} is damaged, or another version wrote it: it is unknown whose run this is"
        raise InputError(field, problem, fix) from error
