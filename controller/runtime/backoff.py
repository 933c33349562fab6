"""How long to wait after failures in a row: doubling up to a maximum, with jitter so that many do not come back at once.

Pure. Tests: tests/controller/runtime/test_backoff.py.
"""

import random
from collections.abc import Callable

Jitter = Callable[[], float]
"""Returns a number from 0 to 1."""

SPREAD = 0.25
"""Share of itself by which a delay is longer or shorter."""
AGAIN_SPREAD = 0.1
"""Share of itself by which the queue lengthens a requested delay."""

LARGEST_EXPONENT = 30
"""Far beyond every maximum; larger exponents would overflow a float in the end."""


def backoff_seconds(failures: int, base_seconds: float, maximum_seconds: float, jitter: Jitter = random.random) -> float:
    """Return the delay after `failures` earlier failures in a row: within a quarter of base x 2^failures or the maximum."""
    delay = min(maximum_seconds, base_seconds * 2.0 ** min(failures, LARGEST_EXPONENT))
    return delay * (1.0 - SPREAD + 2.0 * SPREAD * jitter())


def longest_seconds(maximum_seconds: float) -> float:
    """Return the most seconds that pass until the queue gives out a key that was put off by about the maximum."""
    return maximum_seconds * (1.0 + SPREAD) * (1.0 + AGAIN_SPREAD)
