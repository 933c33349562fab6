"""Policy: a job that has ended is deleted when its time to live is over.

Pure. Test: tests/controller/job/policies/test_expired.py.
"""

from datetime import timedelta

from controller.job.situation import Delete, Plan, Situation
from controller.job.upkeep import releases
from controller.job.verdict import verdict_on
from controller.kinds import FINE_TUNE_JOBS
from controller.runtime.rights import rights
from finetune.api.conditions import get_condition

RIGHTS = rights(FINE_TUNE_JOBS, "delete", why="A job is deleted when its runPolicy.ttlSecondsAfterFinished is over.")


def expired(situation: Situation) -> Situation | Plan:
    """Delete the job; the garbage collector takes what it owns, and the output stays.

    A job that starts from this one and has not written that down yet would wait for ever; its next change asks for another pass.
    """
    verdict, seconds, job = verdict_on(situation.status), situation.job.run_policy.ttl_seconds_after_finished, situation.job
    if verdict is None or seconds is None:
        return situation
    said = get_condition(situation.status, verdict.kind)
    ended = said.last_transition_time if said is not None and said.status == "True" else verdict.since
    if ended is None:
        return situation  # the next policy writes down when it ended
    expires = ended + timedelta(seconds=seconds)
    if expires > situation.now:
        return situation.wake_at(expires)
    if situation.observed.needed_by:
        return situation
    return situation.do(*releases(situation), Delete(FINE_TUNE_JOBS, job.name, job.uid)).ends()
