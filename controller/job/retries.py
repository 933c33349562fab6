"""Tries again, cheaply and at growing intervals, what was refused to a job, and sees in the caches when to try earlier.

A change of the job itself never waits. Tests: tests/controller/job/test_retries.py,
tests/controller/job/test_retries_of_quotas.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from controller.job.facts import Job
from controller.job.hindrance import TIMER_SECONDS, CreationError, Hindrance, Hindrances, Kind, kind_of
from controller.job.names import ATTEMPT_LABEL
from controller.job.objects import safety
from controller.job.objects.attempt import KINDS
from controller.job.parsing import belongs_to, job_from
from controller.job.quotas import Refusal
from controller.kinds import RAY_JOBS
from controller.runtime.errors import AlreadyExists, KubeError, NotFound
from controller.runtime.resources import KubeObject, Resource, object_key
from controller.runtime.rights import rights
from controller.runtime.store import StoreState
from controller.stores import NAMESPACE_INDEX, OWNER_INDEX, Stores
from finetune.api.conditions import set_condition, summarize
from finetune.api.status import ConditionType, FineTuneJobStatus

RIGHTS = tuple(right for kind in KINDS for right in rights(kind, "get", "create"))
"""A dry run takes the right to create."""


class Client(Protocol):
    """What retries need of the client."""

    async def get(self, resource: Resource, name: str, namespace: str | None = None, *, metadata_only: bool = False) -> KubeObject:
        """Return an object; raise NotFound."""

    async def create(self, resource: Resource, item: KubeObject, *, dry_run: bool = False, strict: bool = False) -> KubeObject:
        """Create an object, or check with a dry run whether it could be; raise AlreadyExists, or Invalid for unknown fields."""


@dataclass(frozen=True)
class Held:
    """A creation that has to wait: the status with the reason, and the seconds until the next try."""

    status: FineTuneJobStatus
    seconds: float


class Retries:
    """What was refused to which job, and when it is tried again."""

    def __init__(self, stores: Stores, client: Client, monotonic: Callable[[], float]) -> None:
        self._stores, self._client = stores, client
        self._hindrances = Hindrances(monotonic)

    def waits(self, key: str) -> bool:
        """Return whether the job's next attempt was refused and, by the caches, does not exist by now; ask nobody.

        Without KubeRay there is nothing to try; once it is installed, the first try is due at once.
        """
        hindrance, item = self._hindrances.get(key), self._stores.jobs.get(key)
        if hindrance is None:
            return False
        changed = item is None or item["metadata"].get("deletionTimestamp") or hindrance.job != _identity(item)
        absent = self._stores.ray_jobs.state_in(key.partition("/")[0]) is StoreState.ABSENT
        if item is None or changed or absent or self._has_started(key, job_from(item), hindrance):
            self.forget(key)
            return False
        return True

    async def look(self, key: str, job: Job, status: FineTuneJobStatus, now: datetime) -> Held | None:
        """Return how long a job that `waits` still has to, None if it may try. Sends one request when it is time, else none.

        `status` is what was decided for the job; the one returned also has the reason why it waits.
        """
        hindrance = self._hindrances.get(key)
        if hindrance is None:
            return None
        quotas, changed = self._quotas(job), self._has_changed(job, hindrance)
        hindrance = self._hindrances.hurry(key, changed)
        if self._hindrances.remaining_seconds(hindrance) > TIMER_SECONDS:
            return self._held(job, status, hindrance, now)
        words = await self._ask(hindrance)
        if words is None:
            return None
        watched = hindrance.watched and not changed
        hindrance = self._hindrances.put_off(key, replace(hindrance, words=words, quotas=quotas, watched=watched))
        return self._held(job, status, hindrance, now)

    def put_off(self, key: str, job: Job, status: FineTuneJobStatus, error: CreationError, now: datetime) -> Held:
        """Remember what was refused, and return the status that reports it."""
        watched = bool(error.blocker_uid) and self._cached_uid(error.resource, error.item) == error.blocker_uid
        refusal = Refusal.read(str(error))
        # A quota that has room by now got it after the refusal: leaving it out makes that count as a change.
        quotas = [quota for quota in self._quotas(job) if not refusal.fits(quota)]
        hindrance = Hindrance(
            error.kind, error.resource, error.item, str(error), (job.uid, job.generation),
            blocker_uid=error.blocker_uid, watched=watched, quotas=quotas,
        )  # fmt: skip
        return self._held(job, status, self._hindrances.put_off(key, hindrance), now)

    def forget(self, key: str) -> None:
        """Forget what was refused: it is no longer."""
        self._hindrances.forget(key)

    def _has_changed(self, job: Job, hindrance: Hindrance) -> bool:
        """Return whether, by the caches, the obstacle is gone or has room; what is not cached is tried when it is due."""
        if hindrance.kind is Kind.QUOTA:
            return Refusal.read(hindrance.words).may_pass(hindrance.quotas, self._quotas(job))
        return hindrance.watched and self._cached_uid(hindrance.resource, hindrance.item) != hindrance.blocker_uid

    def _has_started(self, key: str, job: Job, hindrance: Hindrance) -> bool:
        """Return whether, by the caches, the refused object or the RayJob exists after all: a creation that timed out may have succeeded.

        A RayJob that was unsafe was deleted, but may still be in the cache.
        """
        if hindrance.kind is Kind.UNSAFE:
            return False
        attempt = hindrance.item["metadata"]["labels"].get(ATTEMPT_LABEL)
        item = self._stores.cache_of(hindrance.resource).get(object_key(hindrance.item))
        # What has no attempt is of the account that a namespace shares: another job may have created it.
        if item is not None and (attempt is None or belongs_to(item, job)) and not item["metadata"].get("deletionTimestamp"):
            return True
        return attempt is not None and any(
            belongs_to(item, job)
            and (item["metadata"].get("labels") or {}).get(ATTEMPT_LABEL) == attempt
            and not item["metadata"].get("deletionTimestamp")
            for item in self._stores.ray_jobs.by_index(OWNER_INDEX, key)
        )

    async def _ask(self, hindrance: Hindrance) -> str | None:
        """Return the message of the obstacle if it is still there; None if it is not, or if only a real try can show it."""
        resource, metadata = hindrance.resource, hindrance.item["metadata"]
        try:
            if hindrance.kind is Kind.NAME_TAKEN:
                try:
                    present = await self._client.get(resource, metadata["name"], metadata["namespace"], metadata_only=True)
                except NotFound:
                    return None
                return hindrance.words if present["metadata"]["uid"] == hindrance.blocker_uid else None
            stored = await self._client.create(resource, hindrance.item, dry_run=True, strict=resource == RAY_JOBS)
            if resource == RAY_JOBS and (lost := safety.fields_lost(hindrance.item, stored)):
                return safety.words(lost)
        except AlreadyExists:
            return None
        except KubeError as error:
            kind, refused = kind_of(error), safety.fields_refused(str(error))
            if kind is None:
                raise
            if hindrance.kind is Kind.UNSAFE and refused:
                return safety.words(refused)
            # A webhook that cannot do a dry run refuses every one.
            return str(error) if kind is hindrance.kind and "dry run" not in str(error).lower() else None
        return None

    def _held(self, job: Job, status: FineTuneJobStatus, hindrance: Hindrance, now: datetime) -> Held:
        if hindrance.reported:
            reason, message = hindrance.kind.reason, hindrance.message(job.status, now)
            status = set_condition(status, ConditionType.RUNNING, "False", reason, message, generation=job.generation, now=now)
            status = summarize(status, generation=job.generation, now=now)
        return Held(status, max(0.0, self._hindrances.remaining_seconds(hindrance)))

    def _quotas(self, job: Job) -> list[KubeObject]:
        return self._stores.quotas.by_index(NAMESPACE_INDEX, job.namespace)

    def _cached_uid(self, resource: Resource, item: KubeObject) -> str | None:
        present = self._stores.cache_of(resource).get(object_key(item))
        return present["metadata"]["uid"] if present is not None else None


def _identity(item: KubeObject) -> tuple[str, int]:
    return item["metadata"]["uid"], item["metadata"].get("generation", 1)
