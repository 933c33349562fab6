"""Policy: which earlier jobs a job starts from is written down as soon as they have succeeded, whatever else it waits for.

An earlier job may be deleted from then on: every attempt starts from what is written here. Always passes on.
Pure. Test: tests/controller/job/policies/test_remembered.py.
"""

from controller.job.situation import Situation


def remembered(situation: Situation) -> Situation:
    """Write down which earlier jobs were found."""
    found = [earlier.job for earlier in situation.observed.earlier if earlier.job is not None]
    return situation.with_status(earlier_jobs=found) if found and found != situation.status.earlier_jobs else situation
