"""Policy: a job that is being deleted is left alone.

Pure. Test: tests/controller/job/policies/test_deleted.py.
"""

from controller.job.situation import Plan, Situation
from controller.job.upkeep import releases


def deleted(situation: Situation) -> Situation | Plan:
    """Do nothing for a job that is being deleted: the garbage collector takes its children, once none of them holds it up."""
    return situation.do(*releases(situation)).ends() if situation.job.deleting else situation
