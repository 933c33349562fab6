"""Why a rehearsal came to no verdict. A module of its own: what is pickled in a program's __main__ cannot be read by another.

Test: tests/trainer/preflight/test_rehearsing.py.
"""

from finetune.api.errors import RunError
from finetune.api.record import REASON_MEMORY, REASON_STORAGE


class RehearsalError(RunError):
    """A rehearsal came to no verdict."""


class RehearsalMemoryError(RehearsalError):
    """A rehearsal ran out of memory, or was killed, which the machine does when it runs out."""

    reason = REASON_MEMORY


class RehearsalStorageError(RehearsalError):
    """A rehearsal could not read or write a file."""

    reason = REASON_STORAGE


def failure_of(error: Exception) -> type[RehearsalError]:
    """Return the class with the reason of an exception that ended a rehearsal."""
    if isinstance(error, MemoryError):
        return RehearsalMemoryError
    return RehearsalStorageError if isinstance(error, OSError) else RehearsalError
