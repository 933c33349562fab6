"""How long the policies wait before the next look at what no watch reports.

Pure. Test: tests/controller/job/test_pauses.py.
"""

from datetime import timedelta

SOON = timedelta(seconds=1)
"""A status write triggers the next pass by itself; this is for a watch that lags."""
UNWATCHED_POLL = timedelta(seconds=30)
"""No watch reports on an object that has lost its label, nor that a name is free again."""
PODS_GONE_POLL, PODS_GONE_POLL_LONGEST = timedelta(seconds=10), timedelta(seconds=60)
"""Pods are watched; this is for a watch event that never comes."""
REFERENCE_POLL, REFERENCE_POLL_LONGEST = timedelta(seconds=5), timedelta(seconds=60)
"""A user's ConfigMap is not watched: every ConfigMap of the cluster would have to be. A user who has just created the job waits for it."""
SHARE_OF_AGE = 10


def growing(age: timedelta, first: timedelta, longest: timedelta) -> timedelta:
    """Return a tenth of the time waited so far, within bounds: the longer something takes, the less often it is checked."""
    return min(max(age / SHARE_OF_AGE, first), longest)
