"""Checkpoints: written, digested, read back, then published in the place of a run; and the newest valid one found again.

Rank 0 writes whole tensors; of a state that ranks share, each writes its part, into the same folder, and rank 0 publishes it.

A folder `checkpoints/step-N` is either whole or not there, and one that is written again keeps the earlier one until the new
one is verified: that is the place's doing. What a bad disk damages later is found by its digest and skipped with a warning.
Test: tests/trainer/storage/test_checkpoint.py.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from finetune.api.metrics import Score, better
from finetune.api.record import CheckpointRecord
from trainer.storage.manifest import (
    CHECKPOINTS,
    MANIFEST_FILE,
    TornCheckpointError,
    checkpoint_name,
    checkpoint_names,
    read_manifest,
    verified,
    write_manifest,
)
from trainer.storage.parts import WrittenPart, write_part
from trainer.storage.place import Place
from trainer.storage.tensors import TENSORS, Groups, Part, SavedTensors, write_table, write_tensors

STATE_FILE = "state.json"
RunFault = OSError | TornCheckpointError
"""Why a checkpoint could not be written."""


class Ranks(Protocol):
    """How the ranks that share a state talk to each other; each call is made by all."""

    rank: int
    world_size: int

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value on every rank."""

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in their order, on every rank."""


@dataclass(frozen=True)
class SavedState:
    """A checkpoint that was read back and whose digests agree. Every rank that reads its tensors fetches them for itself."""

    place: Place
    name: str
    record: CheckpointRecord
    trainer_state: Mapping[str, Any]

    def tensors(self) -> SavedTensors:
        """Return its tensors, of which nothing is read yet."""
        return SavedTensors(self.place.fetch(self.name))


class CheckpointStore:
    """The checkpoints of one job's output. `owner` is the job's UID, or the digest of its configuration."""

    def __init__(self, place: Place, owner: str, keep: int) -> None:
        self._place, self._owner, self._keep = place, owner, keep
        self.records: list[CheckpointRecord] = []

    def save(
        self, tensors: Groups, trainer_state: Mapping[str, Any], *, step: int, attempt: int, score: Score | None,
        within_budget: bool | None = None,
    ) -> CheckpointRecord:  # fmt: skip
        """Verify and publish the checkpoint of `step`, then remove those that are kept no longer. Each group of tensors is a file.

        Raises OSError when the disk fails, TornCheckpointError when what is read back is not what was written.
        """

        def write(folder: Path) -> dict[str, str]:
            for name, group in tensors.items():
                write_tensors(folder / f"{name}{TENSORS}", group)
            return {}

        return self._publish(write, trainer_state, self._planned(step, attempt, score, within_budget))

    def save_parts(
        self, part: Part, ranks: Ranks, trainer_state: Mapping[str, Any], *, step: int, attempt: int, score: Score | None,
        within_budget: bool | None = None,
    ) -> CheckpointRecord | None:  # fmt: skip
        """As `save`, for a state that ranks share; all must call it. Each writes its part, verifies it, and sends rank 0 its digests.

        Returns when rank 0 has published, None on other ranks. Raises the same on all ranks when one cannot write its part, or
        rank 0 cannot publish.
        """
        if ranks.rank != 0:
            folder: str | RunFault = ranks.broadcast(None)
            if not isinstance(folder, str):
                raise folder
            ranks.gather(write_part(Path(folder), part, ranks.rank, ranks.world_size))
            fault: RunFault | None = ranks.broadcast(None)
            if fault is not None:
                raise fault
            return None
        try:
            record = self._publish_parts(part, ranks, trainer_state, self._planned(step, attempt, score, within_budget))
        except (OSError, TornCheckpointError) as error:
            ranks.broadcast(error)
            raise
        ranks.broadcast(None)
        return record

    def _publish_parts(self, part: Part, ranks: Ranks, trainer_state: Mapping[str, Any], planned: CheckpointRecord) -> CheckpointRecord:
        def write(folder: Path) -> dict[str, str]:
            own = write_part(Path(ranks.broadcast(str(folder))), part, 0, ranks.world_size)
            parts: list[WrittenPart] = ranks.gather(own)
            for each in parts:
                each.check()
            write_table(folder, part.shapes, [each.ranges for each in parts])
            return {name: digest for each in parts for name, digest in each.found_in(folder).items()}

        return self._publish(write, trainer_state, planned)

    def _planned(self, step: int, attempt: int, score: Score | None, within_budget: bool | None) -> CheckpointRecord:
        return CheckpointRecord(
            step=step,
            uri=self._place.uri(checkpoint_name(step)),
            size_bytes=0,
            created_time=datetime.now(UTC),
            attempt=attempt,
            score=score,
            within_budget=within_budget,
            verified=True,
        )

    def _publish(
        self, write: Callable[[Path], Mapping[str, str]], trainer_state: Mapping[str, Any], planned: CheckpointRecord
    ) -> CheckpointRecord:
        """Publish the folder that `write` fills; it returns the digests of those files that were read back already."""
        step = planned.step
        try:
            self._place.recover(CHECKPOINTS)
            with self._place.stage(checkpoint_name(step)) as staged:
                known = write(staged.folder)
                (staged.folder / STATE_FILE).write_text(json.dumps(trainer_state), encoding="utf-8")
                size = sum(file.stat().st_size for file in staged.folder.iterdir())
                record = planned.model_copy(update={"size_bytes": size})
                write_manifest(staged.folder, record, self._owner, known)
                staged.publish(check=lambda folder: verified(folder, self._owner, known))
        except OSError as error:
            raise OSError(f"the checkpoint of step {step} could not be written: {error}") from error
        except TornCheckpointError as error:
            raise TornCheckpointError(f"the checkpoint of step {step} could not be written: {error}") from error
        self.records = [kept for kept in self.records if kept.step != step] + [record]
        self._mark_best_and_prune()
        return record

    def _mark_best_and_prune(self) -> None:
        self.records = mark_best(sorted(self.records, key=lambda record: record.step))
        newest = {record.step for record in self.records[-self._keep :]}
        for record in list(self.records):
            if record.step not in newest and not record.best:
                self._place.remove(checkpoint_name(record.step))
                self.records.remove(record)

    def newest(self) -> tuple[SavedState | None, list[str]]:
        """Return the newest valid checkpoint, if any, and a warning for each one that was skipped.

        Only as many are read whole as it takes to find a valid one; the older ones were verified when they were written, and
        their manifests are believed. Raises InputError when a checkpoint belongs to another owner.
        """
        found: SavedState | None = None
        records: list[CheckpointRecord] = []
        warnings: list[str] = []
        for step, name in sorted(checkpoint_names(self._place).items(), reverse=True):
            try:
                if found is None:
                    found = self.at_step(step)
                    records.append(found.record)
                else:
                    records.append(self._here(read_manifest(self._fetch(f"{name}/{MANIFEST_FILE}"), self._owner).record))
            except TornCheckpointError as error:
                warnings.append(f"checkpoint step-{step} is damaged and was skipped: {error}")
        self.records = mark_best(sorted(records, key=lambda record: record.step))
        return found, warnings

    def at_step(self, step: int) -> SavedState:
        """Verify and return the checkpoint of a step; raises TornCheckpointError, or InputError when it is another owner's."""
        folder = self._fetch(checkpoint_name(step))
        record = self._here(verified(folder, self._owner))
        return SavedState(self._place, checkpoint_name(step), record, json.loads((folder / STATE_FILE).read_text(encoding="utf-8")))

    def _fetch(self, name: str) -> Path:
        try:
            return self._place.fetch(name)
        except OSError as error:
            raise TornCheckpointError(f"it cannot be read: {error}") from error

    def _here(self, record: CheckpointRecord) -> CheckpointRecord:
        # The folder may have been moved since.
        return record.model_copy(update={"uri": self._place.uri(checkpoint_name(record.step))})

    def best(self, at_hand: int | None = None) -> tuple[SavedState | None, list[str]]:
        """Return the best valid checkpoint, and what is wrong with each better one, which is left out of the records from now on.

        None when no validated one is left, and when it is that of the step `at_hand`, whose weights need not be read.
        """
        faults: list[str] = []
        while (best := best_record(self.records)) is not None and best.step != at_hand:
            try:
                return self.at_step(best.step), faults
            except TornCheckpointError as error:
                self.records = mark_best([record for record in self.records if record.step != best.step])
                faults.append(f"the best checkpoint, of step {best.step}, is damaged ({error})")
        return None, faults


def mark_best(records: Sequence[CheckpointRecord]) -> list[CheckpointRecord]:
    """Return the records with `best` on the one of the best score, the earliest of equals."""
    best = best_record(records)
    return [record.model_copy(update={"best": best is not None and record.step == best.step}) for record in records]


def best_record(records: Iterable[CheckpointRecord]) -> CheckpointRecord | None:
    """Return the record of the best score, the first of equals; of those without a score the newest within a budget, if there is one.

    One beyond the budget is never the best. None where nothing was validated.
    """
    allowed = sorted((record for record in records if record.within_budget is not False), key=lambda record: record.step)
    best: CheckpointRecord | None = None
    for record in allowed:
        if record.score is not None and better(record.score, best.score if best is not None else None):
            best = record
    return best or next((record for record in reversed(allowed) if record.within_budget), None)


def best_score(records: Iterable[CheckpointRecord]) -> Score | None:
    """Return the score of the best record, or None when none was validated."""
    best = best_record(records)
    return best.score if best is not None else None
