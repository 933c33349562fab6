"""Policy: a job that has succeeded or failed stays as it is, and nothing of it runs on.

Pure. Test: tests/controller/job/policies/test_finished.py.
"""

from dataclasses import replace
from datetime import timedelta

from controller.job.changes import accept, over
from controller.job.remains import leftovers
from controller.job.situation import Plan, Situation
from controller.job.upkeep import releases
from controller.job.verdict import GIVEN_UP, pronounce, verdict_on
from finetune.api.conditions import get_condition
from finetune.api.status import ConditionType

LINGERING = timedelta(seconds=60)
"""A driver that has made its last report ends within seconds; after this, its RayJob is deleted."""


def finished(situation: Situation) -> Situation | Plan:
    """Keep the conditions of an ended job as its attempts say, and delete what runs on; a driver gets time to end by itself."""
    verdict, now = verdict_on(situation.status), situation.now
    if verdict is None:
        return situation
    status = pronounce(situation.status, verdict, generation=situation.job.generation, now=now)
    situation = replace(situation, status=status)
    if status.attempts and get_condition(status, ConditionType.ACCEPTED) is None:
        situation = accept(situation)
    # The condition may still say that a leftover could not be deleted, and that may be over.
    situation = over(situation)
    last = situation.last_attempt
    for deletion in leftovers(situation):
        by_itself = last is not None and deletion.name == last.ray_job_name and verdict.reason not in GIVEN_UP
        ends = (last.end_time or now) + LINGERING if last is not None and by_itself else now
        situation = situation.wake_at(ends) if ends > now else situation.do(deletion)
    return situation.do(*releases(situation)).ends()
