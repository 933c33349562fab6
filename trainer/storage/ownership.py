"""run.json records whose run an output folder holds.

Before anything is written there, rows included, `check_configuration` looks at it; `finished` does again once the digests of the
rows are known, before anything that a run leaves is written. Test: tests/trainer/storage/test_ownership.py.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from finetune.api.errors import InputError
from finetune.api.lineage import differing_field, without_length
from finetune.api.sections import Method
from finetune.api.tasks import TaskName
from finetune.api.trainconfig import TrainConfig, digest_of_lineage
from trainer.storage.kinds import output_place
from trainer.storage.manifest import CHECKPOINTS
from trainer.storage.place import Place

RUN_FILE = "run.json"
ANOTHER_FOLDER = "choose another output folder, or start over with --overwrite"
TIME_FIELD = "the time that the chat template shows"
"""Key among the digests: the ISO time that a chat template which reads the clock is given, in every attempt and on every rank."""


@dataclass(frozen=True)
class Ownership:
    """A run's claim on its output. `digests` are of what its input files hold, by field, because paths may change."""

    place: Place
    name: str
    uid: str | None
    lineage: dict[str, Any]
    lineage_digest: str
    digests: dict[str, str]
    lengthens: bool = False
    """The folder may hold the run of a lineage that differs only in being shorter."""
    mark: str | None = None
    """The mark on its checkpoints where the run was shorter when it began."""

    @classmethod
    def of(cls, config: TrainConfig, digests: dict[str, str]) -> "Ownership":
        """Return the claim of one run."""
        place, lengthens = output_place(config.output), config.lengthen
        return cls(place, config.job.name, config.job.uid, config.lineage(), config.lineage_digest(), digests, lengthens)

    @classmethod
    def recorded(cls, place: Place, field: str = "DIR") -> "Ownership":
        """Return the claim of the run that a folder holds, as its record says; InputError where there is none that can be read."""
        written = _read(place, field, "restore it, or name the folder of another run", to_export=True)
        if written is None:
            problem = f"{place.uri()} holds no run: it has no {RUN_FILE}"
            raise InputError(field, problem, "name the folder that a run was written to")
        return cls._written_in(place, written)

    @classmethod
    def _written_in(cls, place: Place, written: "_Record") -> "Ownership":
        owner, lineage = written.owner, written.lineage
        return cls(place, owner.name, owner.uid, lineage, digest_of_lineage(lineage), written.digests, mark=written.mark)

    def as_recorded(self) -> "Ownership":
        """Return the claim as the folder's record of the same run has it: its checkpoints are marked with that.

        An earlier version that did not have a field recorded no default for it. A record of another run changes nothing.
        """
        written = self._written()
        if written is None or self.uid is not None or differing_field(written.lineage, self.lineage) is not None:
            return self
        return replace(self, lineage=written.lineage, lineage_digest=digest_of_lineage(written.lineage), mark=written.mark)

    def shorter(self) -> "Ownership | None":
        """Return the claim of the shorter run that this one lengthens; None where the folder holds this very run, or none."""
        written = self._written()
        return self._written_in(self.place, written) if written is not None and self._is_longer(written) else None

    def _is_longer(self, written: "_Record") -> bool:
        return self.lengthens and differing_field(written.lineage, self.lineage) is not None

    @property
    def owner(self) -> str:
        """The mark on its checkpoints: the job's UID on a cluster, else a digest of configuration and content."""
        content = hashlib.sha256(json.dumps(self.digests, sort_keys=True).encode()).hexdigest()
        return self.uid or self.mark or f"{self.lineage_digest[:32]}{content[:32]}"

    def check_configuration(self) -> bool:
        """Raise InputError when the folder holds another job's run, or a run with another configuration. Looks at no digest.

        Returns whether the run that it holds is finished, if the digests say that it is this one.
        """
        if (written := self._written()) is None:
            return False
        self._check_configuration(written)
        return written.finished and not self._is_longer(written)

    def finished(self) -> bool:
        """Check the folder against the claim and return whether this very run is finished already.

        Raises InputError when the folder holds another job's run, or a run with another configuration or other data.
        """
        written = self._written()
        if written is None:
            return False
        self._check_configuration(written)
        self._check_digests(written)
        return written.finished and not self._is_longer(written)

    def _written(self) -> "_Record | None":
        written = _read(self.place)
        if written is None and CHECKPOINTS in self.place.names():
            problem = f"{self.place.uri()} has checkpoints but no {RUN_FILE} that says whose"
            raise InputError("output", problem, "choose another folder")
        return written

    def _check_configuration(self, written: "_Record") -> None:
        owner = written.owner
        if owner.uid != self.uid or owner.name != self.name:
            raise InputError("output", f"{self.place.uri()} belongs to the job {owner.name!r} ({owner.uid or 'local'})", ANOTHER_FOLDER)
        if self.uid is not None:
            return
        field = differing_field(written.lineage, self.lineage)
        if field is not None and self.lengthens:
            field = differing_field(without_length(written.lineage), without_length(self.lineage))
        if field is not None:
            raise InputError(field, f"is not what it was in the run that {self.place.uri()} holds", ANOTHER_FOLDER)

    def _check_digests(self, written: "_Record") -> None:
        changed = next((field for field, digest in self.digests.items() if written.digests.get(field) != digest), None)
        if changed is not None:
            # Also within one job: its ConfigMap or data set may have changed since the attempt before.
            again = ANOTHER_FOLDER if self.uid is None else "restore it, or create a new job"
            raise InputError(changed, f"holds something else than in the run that {self.place.uri()} holds", again)

    def write(self, *, finished: bool) -> None:
        """Record the claim, in one step."""
        content = {
            "owner": {"uid": self.uid, "name": self.name}, "lineage": self.lineage, "digests": self.digests, "finished": finished,
        } | ({"mark": self.mark} if self.mark is not None else {})  # fmt: skip
        self.place.put(RUN_FILE, json.dumps(content, indent=1))


def recorded_time(place: Place) -> str | None:
    """Return the time that the recorded run took for now, None where there is no run or its template reads no clock."""
    written = _read(place)
    return written.digests.get(TIME_FIELD) if written is not None else None


def no_checkpoint_left(place: Place, uid: str | None) -> InputError:
    """Return the error of a finished run whose results are gone and cannot be made again; `uid` is that of a cluster's job."""
    fix = f"restore its checkpoints, or {'start over with --overwrite' if uid is None else 'create a new job'}"
    return InputError("output", f"the run in {place.uri()} is finished, but no valid checkpoint of it is left", fix)


class _Owner(BaseModel):
    uid: str | None
    name: str


class _Record(BaseModel):
    """The content of run.json."""

    owner: _Owner
    lineage: dict[str, Any]
    digests: dict[str, str]
    finished: bool
    mark: str | None = None


class _Model(BaseModel):
    name: str | None = None
    revision: str | None = None


class _Lineage(BaseModel):
    """The part of a lineage that an export reads; a run compares all of it, field by field, with its own."""

    method: Method
    task: TaskName
    model: _Model


def _read(place: Place, field: str = "output", fix: str = "choose another output folder", *, to_export: bool = False) -> _Record | None:
    """Return the record of the run in a place, None where there is none; InputError about `field` where it is damaged."""
    try:
        content = place.fetch(RUN_FILE).read_bytes()
    except FileNotFoundError:
        return None
    try:
        written = _Record.model_validate_json(content)
        if to_export:
            _Lineage.model_validate(written.lineage)
        return written
    except ValidationError as error:
        problem = f"{place.uri(RUN_FILE)} is damaged, or another version wrote it: it is unknown whose run this is"
        raise InputError(field, problem, fix) from error
