"""Reports that were not taken over: each is counted once, by its reason, and told in the log at debug level.

Who trains may write anything into a progress ConfigMap, as often as it likes, so a refused report is no warning. What was counted lives in
memory only. Tests: tests/controller/job/test_refusals.py.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

ENDED_ATTEMPT, OTHER_JOB = "EndedAttempt", "OtherJob"
"""Beside the reasons of finetune.api.folding: of an attempt that has ended, and of an object that is not this job's."""
SOURCES_MAX = 16
"""Of one job; whoever may create ConfigMaps could make up any number."""


@dataclass(frozen=True)
class Refused:
    """A report that was not taken over: why, where it came from, and what tells it from the next one.

    `late`: what is there when it is first seen is an old report, which was taken over in its time; only a change is news.
    """

    reason: str
    source: str
    words: str
    content: int
    late: bool = False


class Refusals:
    """Calls `count` with the reason of each report that was refused, once a report."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._seen: dict[str, dict[str, int]] = {}

    def take(self, key: str, refused: Iterable[Refused]) -> None:
        """Count and log what is new of the reports that were refused in a pass over the job `namespace/name`."""
        for each in refused:
            seen = self._seen.setdefault(key, {})
            before = seen.get(each.source)
            if before == each.content or (before is None and len(seen) >= SOURCES_MAX):
                continue
            seen[each.source] = each.content
            if before is not None or not each.late:
                self._count(each.reason)
                logger.debug("a report was refused", extra={"key": key, "reason": each.reason, "source": each.source, "why": each.words})

    def forget(self, key: str) -> None:
        """Forget a job that is gone."""
        self._seen.pop(key, None)
