"""Policy: a job that the user resumes is not called suspended any more, whatever it has to wait for. Always passes on.

Pure. Test: tests/controller/job/policies/test_resumed.py.
"""

from controller.job.changes import resume
from controller.job.situation import Situation


def resumed(situation: Situation) -> Situation:
    """Take the condition Suspended back once runPolicy.suspend is false."""
    return situation if situation.job.suspended else resume(situation)
