"""What keeps an attempt's objects from being created, when it is tried again, and what triggers an earlier try.

What cannot succeed costs one cheap request per try, less and less often: a look at the object that has the name, or a dry
run of the creation that was refused. This lives in memory only, for it decides nothing but when to ask: after a restart
everything is tried once. Pure except for that memory. Tests: tests/controller/job/test_hindrance.py, tests/controller/job/test_retries.py.
"""

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from controller.runtime.backoff import SPREAD, Jitter, backoff_seconds, longest_seconds
from controller.runtime.errors import Forbidden, KubeError, NotFound, ServerError, TerminalError
from controller.runtime.resources import KubeObject, Resource
from finetune.api.conditions import Reason, get_condition
from finetune.api.status import ConditionType, FineTuneJobStatus

QUOTA_WORDS = ("exceeded quota", "failed quota", "status unknown for quota", "insufficient quota")
"""In messages of the API server's ResourceQuota plugin; its reason is Forbidden, like that of other refusals."""
SINCE = re.compile(r"\(since (?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC; ")
TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
REPORTED_AFTER_TRIES = 3
"""Most server errors are over within moments; one that persists is reported."""
WOKEN_PAUSE_SECONDS, WOKEN_SPREAD_SECONDS = 1.0, 2.0
"""The plugin that refused reads a cache too, which may lag behind ours; of many waiting jobs, the first may take all the room."""
QUOTA_PAUSE_SECONDS = 10.0
"""Room in a quota changes for many reasons: a job asks for it no more often than this."""
SHOWN_IN_SECONDS = 180.0
TIMER_SECONDS = 0.05
"""A timer that fires this much too early counts as fired."""


def in_words(seconds: float) -> str:
    """Return a duration for people, rounded up: seconds up to three minutes, then minutes."""
    return f"{math.ceil(seconds)} s" if seconds <= SHOWN_IN_SECONDS else f"{math.ceil(seconds / 60)} minutes"


class Kind(Enum):
    """Kinds of obstacle: the reason in status, first and longest pause in seconds, and when the job then starts by itself."""

    NAME_TAKEN = (Reason.NAME_TAKEN, 5.0, 120.0, " when that object is gone")
    QUOTA = (Reason.QUOTA_EXCEEDED, 15.0, 120.0, " when the quota has room or is gone")
    REFUSED = (Reason.CREATION_FAILED, 5.0, 60.0, " when allowed")
    UNSAFE = (Reason.KUBERAY_UNSAFE, 30.0, 300.0, "")
    FAILING = (Reason.CREATION_FAILED, 1.0, 60.0, "")

    def __init__(self, reason: Reason, first_seconds: float, longest_pause_seconds: float, when: str) -> None:
        self.reason, self.first_seconds, self.longest_pause_seconds = reason, first_seconds, longest_pause_seconds
        self.outlook = f"tried again within {in_words(longest_seconds(longest_pause_seconds))}; the job starts by itself{when}"


class CreationError(Exception):
    """An object could not be created, for a reason that an immediate retry will not change."""

    def __init__(self, resource: Resource, item: KubeObject, words: str, kind: Kind, blocker_uid: str = "") -> None:
        super().__init__(words)
        self.resource, self.item, self.kind, self.blocker_uid = resource, item, kind, blocker_uid


@dataclass(frozen=True)
class Hindrance:
    """The last obstacle. `job` is the UID and generation that were tried; `quotas` are those of the namespace at that time."""

    kind: Kind
    resource: Resource
    item: KubeObject
    words: str
    job: tuple[str, int]
    blocker_uid: str = ""
    watched: bool = False
    """Whether the object that has the name is in a cache, so that its deletion is noticed."""
    quotas: Sequence[KubeObject] = ()
    tries: int = 0
    asked: float = 0.0
    due: float = 0.0
    soon: float | None = None
    """When to ask before it is due, while that seems worthwhile."""

    @property
    def reported(self) -> bool:
        """Whether the job's conditions report it."""
        return self.kind is not Kind.FAILING or self.tries >= REPORTED_AFTER_TRIES

    def message(self, status: FineTuneJobStatus, now: datetime) -> str:
        """Return the condition's message, with the time since when the obstacle has been there."""
        return f"{self.words} (since {since(status, self.kind.reason, now)} UTC; {self.kind.outlook})"


def kind_of(error: KubeError) -> Kind | None:
    """Return what kind of obstacle an error is; None if it is not about the object itself."""
    if isinstance(error, Forbidden):
        return Kind.QUOTA if any(words in str(error) for words in QUOTA_WORDS) else Kind.REFUSED
    if isinstance(error, TerminalError):
        return Kind.REFUSED
    # An aggregated API or a definition that is missing, or a webhook that answers 404, is like a failing server: it may come back.
    return Kind.FAILING if isinstance(error, ServerError | NotFound) else None


def since(status: FineTuneJobStatus, reason: str, now: datetime) -> str:
    """Return since when the condition Running has had this reason: another process may have reported it first."""
    running = get_condition(status, ConditionType.RUNNING)
    found = SINCE.search(running.message) if running is not None and running.reason == reason else None
    return found["time"] if found else now.strftime(TIME_FORMAT)


class Hindrances:
    """The obstacles of jobs by key, and when each is tried again."""

    def __init__(self, clock: Callable[[], float], jitter: Jitter = random.random) -> None:
        self._clock, self._jitter = clock, jitter
        self._by_key: dict[str, Hindrance] = {}

    def get(self, key: str) -> Hindrance | None:
        """Return the job's last obstacle, None if there is none."""
        return self._by_key.get(key)

    def put_off(self, key: str, hindrance: Hindrance) -> Hindrance:
        """Remember an obstacle, for longer each time that it is of the same kind; return it with the time of the next try."""
        before = self._by_key.get(key)
        tries = 0
        if before is not None and before.kind is hindrance.kind:
            tries = before.tries if before.soon is None else max(1, before.tries // 2)
        pause = backoff_seconds(tries, hindrance.kind.first_seconds, hindrance.kind.longest_pause_seconds, self._jitter)
        asked = self._clock()
        return self._put(key, replace(hindrance, tries=tries + 1, asked=asked, due=asked + pause, soon=None))

    def hurry(self, key: str, worthwhile: bool) -> Hindrance:
        """Try soon if it is `worthwhile`, because the obstacle has changed; otherwise, or if it no longer is, when it is due."""
        hindrance = self._by_key[key]
        if worthwhile == (hindrance.soon is not None):
            return hindrance
        soon = None
        if worthwhile:
            soon = self._clock() + WOKEN_PAUSE_SECONDS + WOKEN_SPREAD_SECONDS * self._jitter()
            if hindrance.kind is Kind.QUOTA:
                soon = max(soon, hindrance.asked + QUOTA_PAUSE_SECONDS * (1.0 + SPREAD * self._jitter()))
        return self._put(key, replace(hindrance, soon=soon))

    def forget(self, key: str) -> None:
        """Forget the obstacle: it is gone, or the job is."""
        self._by_key.pop(key, None)

    def remaining_seconds(self, hindrance: Hindrance) -> float:
        """Return the seconds until the next try; 0 or less when it is time."""
        due = hindrance.due if hindrance.soon is None else min(hindrance.due, hindrance.soon)
        return due - self._clock()

    def _put(self, key: str, hindrance: Hindrance) -> Hindrance:
        self._by_key[key] = hindrance
        return hindrance
