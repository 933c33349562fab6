"""How long to wait after failures in a row: doubling up to a maximum, spread so that many do not come back at once.

Pure. Tests: tests/controller/runtime/test_backoff.py.
"""

import random
from collections.abc import Callable

Jitter = Callable[[], float]
"""Returns a number from 0 to 1."""

LARGEST_EXPONENT = 30
"""Far beyond every maximum; a larger one would overflow a float one day."""


def backoff_seconds(failures: int, base_seconds: float, maximum_seconds: float, jitter: Jitter = random.random) -> float:
    """Return the delay after `failures` earlier failures in a row: within a quarter of base x 2^failures or the maximum."""
    delay = min(maximum_seconds, base_seconds * 2.0 ** min(failures, LARGEST_EXPONENT))
    return delay * (0.75 + 0.5 * jitter())
