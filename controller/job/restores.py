"""Creates again what a running attempt has lost, at growing intervals while that is refused, and reports how it went.

Nothing waits for it: the attempt runs, and only its reports need what is lost. Tests: tests/controller/job/test_restores.py.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from controller.job.facts import Job
from controller.job.hindrance import TIMER_SECONDS, CreationError, Hindrance, Hindrances
from controller.job.situation import RestoreSupports
from controller.job.upkeep import not_restored, restored
from finetune.api.conditions import Reason, set_condition
from finetune.api.status import ConditionType, FineTuneJobStatus


class Creator(Protocol):
    """Creates what an attempt has lost."""

    async def restore(self, job: Job, action: RestoreSupports) -> list[CreationError]:
        """Create it; return what was refused."""


class Restores:
    """What was lost by which job and could not be created again, and when that is tried again."""

    def __init__(self, creator: Creator, monotonic: Callable[[], float]) -> None:
        self._creator, self._hindrances = creator, Hindrances(monotonic)

    def forget(self, key: str) -> None:
        """Forget what was refused: nothing is lost any more."""
        self._hindrances.forget(key)

    async def restore(
        self, key: str, job: Job, status: FineTuneJobStatus, action: RestoreSupports, now: datetime
    ) -> tuple[FineTuneJobStatus, float | None]:
        """Try, if it is time; return the status that reports it, and the seconds until what was refused is tried again."""
        before = self._hindrances.get(key)
        if before is not None and before.job[0] == job.uid and (left := self._hindrances.remaining_seconds(before)) > TIMER_SECONDS:
            return status, left
        refused = await self._creator.restore(job, action)
        generation = job.generation
        if not refused:
            self.forget(key)
            words = restored(action.lost)
            status = set_condition(status, ConditionType.REPORTING, "True", Reason.SUPPORTS_RESTORED, words, generation=generation, now=now)
            return status, None
        first, missing = refused[0], [(error.resource.kind, error.item["metadata"]["name"]) for error in refused]
        hindrance = Hindrance(first.kind, first.resource, first.item, str(first), (job.uid, generation))
        hindrance = self._hindrances.put_off(key, hindrance)
        if hindrance.reported:
            words, reason = not_restored(missing, hindrance.words), Reason.CREATION_FAILED
            status = set_condition(status, ConditionType.REPORTING, "False", reason, words, generation=generation, now=now)
        return status, self._hindrances.remaining_seconds(hindrance)
