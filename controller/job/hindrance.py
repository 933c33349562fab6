"""What keeps an attempt's children from being created, how seldom it is asked for again, and what wakes the job before.

What cannot succeed costs one cheap request a try, less and less often: a look at the object that has the name, or a dry
run of the creation that was refused. Kept in memory, for it is only about when to ask: after a restart everything is
tried once. Pure but for the memory itself. Tests: tests/controller/job/test_retries.py.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from controller.api.status import ConditionType, FineTuneJobStatus
from controller.job.conditions import Reason, get_condition
from controller.runtime.backoff import Jitter, backoff_seconds
from controller.runtime.errors import Forbidden, KubeError, ServerError, TerminalError
from controller.runtime.resources import KubeObject, Resource

QUOTA_WORDS = ("exceeded quota", "failed quota", "status unknown for quota", "insufficient quota")
"""How the API server's ResourceQuota plugin refuses; its reason is Forbidden, as for everything else."""
SINCE = re.compile(r"\(since (?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC; ")
TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
TOLD_AFTER_TRIES = 3
"""A server error is over within moments, mostly; one that stays is told."""
WOKEN_PAUSE_SECONDS = 1.0
"""The plugin that refused looks at a cache too, and may not know yet what we know."""


class Kind(Enum):
    """What hinders: its reason in status, first and longest pause in seconds, and in words what the job waits for."""

    NAME_TAKEN = (Reason.NAME_TAKEN, 5.0, 120.0, "it starts by itself when that object is gone")
    QUOTA = (Reason.QUOTA_EXCEEDED, 5.0, 120.0, "it starts by itself when the quota has room or is gone")
    REFUSED = (Reason.CREATION_FAILED, 5.0, 60.0, "asked again within 75 s at the latest, and it starts by itself when allowed")
    UNSAFE = (Reason.KUBERAY_UNSAFE, 30.0, 300.0, "asked again within 7 minutes at the latest, and it starts by itself")
    FAILING = (Reason.CREATION_FAILED, 1.0, 60.0, "asked again within 75 s at the latest, and it starts by itself")

    def __init__(self, reason: Reason, first_seconds: float, longest_seconds: float, outlook: str) -> None:
        self.reason, self.first_seconds, self.longest_seconds, self.outlook = reason, first_seconds, longest_seconds, outlook


class CreationError(Exception):
    """A child could not be created, for a reason that asking again at once will not change."""

    def __init__(self, resource: Resource, item: KubeObject, words: str, kind: Kind, blocker_uid: str = "") -> None:
        super().__init__(words)
        self.resource, self.item, self.kind, self.blocker_uid = resource, item, kind, blocker_uid


@dataclass(frozen=True)
class Hindrance:
    """What hindered last. `job` is the UID and generation that were tried; `quotas` are those of the namespace then."""

    kind: Kind
    resource: Resource
    item: KubeObject
    words: str
    job: tuple[str, int]
    blocker_uid: str = ""
    watched: bool = False
    """Whether the object that has the name is in a cache, so that its going is seen."""
    quotas: Sequence[KubeObject] = ()
    tries: int = 0
    due: float = 0.0

    @property
    def told(self) -> bool:
        """Whether the job's conditions tell of it."""
        return self.kind is not Kind.FAILING or self.tries >= TOLD_AFTER_TRIES

    def message(self, status: FineTuneJobStatus, now: datetime) -> str:
        """Return the words for the condition, with the time since which the same has hindered."""
        return f"{self.words} (since {since(status, self.kind.reason, now)} UTC; {self.kind.outlook})"


def kind_of(error: KubeError) -> Kind | None:
    """Return what a refused creation is for the job; None if it is nothing that the child itself is refused for."""
    if isinstance(error, Forbidden):
        return Kind.QUOTA if any(words in str(error) for words in QUOTA_WORDS) else Kind.REFUSED
    if isinstance(error, TerminalError):
        return Kind.REFUSED
    return Kind.FAILING if isinstance(error, ServerError) else None


def since(status: FineTuneJobStatus, reason: str, now: datetime) -> str:
    """Return since when the condition Running has given this reason: another process may have told it first."""
    running = get_condition(status, ConditionType.RUNNING)
    told = SINCE.search(running.message) if running is not None and running.reason == reason else None
    return told["time"] if told else now.strftime(TIME_FORMAT)


class Hindrances:
    """What hinders which job, by key, and when each is asked for again."""

    def __init__(self, clock: Callable[[], float], jitter: Jitter = random.random) -> None:
        self._clock, self._jitter = clock, jitter
        self._by_key: dict[str, Hindrance] = {}

    def get(self, key: str) -> Hindrance | None:
        """Return what hindered the job last, None if nothing did."""
        return self._by_key.get(key)

    def put_off(self, key: str, hindrance: Hindrance) -> Hindrance:
        """Remember what hindered, for longer each time that it is of the same kind; returns it with when to ask again."""
        before = self._by_key.get(key)
        tries = before.tries if before is not None and before.kind is hindrance.kind else 0
        pause = backoff_seconds(tries, hindrance.kind.first_seconds, hindrance.kind.longest_seconds, self._jitter)
        return self._put(key, hindrance, tries + 1, self._clock() + pause)

    def wake(self, key: str, quotas: Sequence[KubeObject]) -> Hindrance:
        """Ask soon again, and after that as if it were the first time: what hindered has changed, to these `quotas` perhaps."""
        hindrance = self._by_key[key]
        soon = self._clock() + WOKEN_PAUSE_SECONDS * (1.0 + self._jitter())
        hindrance = replace(hindrance, quotas=quotas, watched=False)
        return self._put(key, hindrance, 0, min(hindrance.due, soon))

    def forget(self, key: str) -> None:
        """Nothing hinders the job, or it is gone."""
        self._by_key.pop(key, None)

    def remaining_seconds(self, hindrance: Hindrance) -> float:
        """Return after how many seconds to ask again; not above 0 when it is time."""
        return hindrance.due - self._clock()

    def _put(self, key: str, hindrance: Hindrance, tries: int, due: float) -> Hindrance:
        hindrance = replace(hindrance, tries=tries, due=due)
        self._by_key[key] = hindrance
        return hindrance
