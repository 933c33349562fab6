"""What this process has just begun itself, and so need not ask the API server for.

A job's first attempt is written into a status that was empty, and only over that version: no attempt can have been before it,
and no other process can have begun one. Its objects are then created without looking for what others might have left, and a
name that is taken ends that. After the creation the caches are given a moment to show the RayJob. Nothing here survives the
process: another one looks. No client. Test: tests/controller/job/test_beginnings.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.runtime.resources import KubeObject
from controller.runtime.store import Store

YOUNG = timedelta(minutes=5)
"""Whoever empties the status of an older job has one with a past; the attempts of that are looked for."""
REMEMBERED_SECONDS = 120.0
SEEN_WITHIN_SECONDS = 2.0
"""Watches are milliseconds behind; one that is dead must not hold a job up."""


@dataclass(frozen=True)
class _Begun:
    uid: str
    version: str
    at: float


class Beginnings:
    """First attempts that are written down, and RayJobs that are created and not yet in the cache; by the job's key."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._begun: dict[str, _Begun] = {}
        self._created: dict[str, tuple[str, float]] = {}

    def begun(self, key: str, before: KubeObject, after: KubeObject, now: datetime) -> None:
        """Remember the job as it was stored `after` a write, if that was its first: `before` it had no status."""
        metadata = before["metadata"]
        created = metadata.get("creationTimestamp")
        if before.get("status") or not created or now - datetime.fromisoformat(created) > YOUNG:
            return
        attempts = (after.get("status") or {}).get("attempts") or []
        if [attempt.get("number") for attempt in attempts] == [1]:
            stored = after["metadata"]
            self._begun[key] = _Begun(stored["uid"], stored["resourceVersion"], self._monotonic())

    def has_no_past(self, key: str, uid: str, version: str) -> bool:
        """Return whether the job is exactly as this process has begun it, a moment ago."""
        begun = self._begun.get(key)
        if begun is None:
            return False
        if (begun.uid, begun.version) != (uid, version) or self._monotonic() - begun.at > REMEMBERED_SECONDS:
            del self._begun[key]
            return False
        return True

    def created(self, key: str, ray_job: str) -> None:
        """Remember that the attempt's RayJob, `namespace/name`, exists."""
        self._begun.pop(key, None)
        self._created[key] = ray_job, self._monotonic()

    def awaited_seconds(self, key: str, ray_jobs: Store) -> float | None:
        """Return for how long the cache may still lack the job's RayJob that was just created; None if it has it, or must have."""
        name, at = self._created.get(key, ("", 0.0))
        if not name:
            return None
        left = at + SEEN_WITHIN_SECONDS - self._monotonic()
        if left > 0 and ray_jobs.get(name) is None:
            return left
        del self._created[key]
        return None

    def forget(self, key: str) -> None:
        """Forget the job: it has a past, or is gone."""
        self._begun.pop(key, None)
        self._created.pop(key, None)
