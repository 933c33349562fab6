"""Policy: a job that the user resumes is not called suspended any more, whatever it has to wait for. Always passes on.

Pure. Test: tests/controller/job/policies/test_resumed.py.
"""

from controller.job.changes import resume
from controller.job.situation import Situation


def resumed(situation: Situation) -> Situation:
    """Take the condition Suspended back once runPolicy.suspend is false."""
    if situation.job.suspended:
        return situation
    if situation.attempt is not None and situation.attempt.stop_requested_time is not None:
        situation = situation.with_attempt(stop_requested_time=None)  # another suspension has its own five minutes
    return resume(situation)
