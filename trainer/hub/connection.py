"""What models and data sets of the Hugging Face hub share: the time-out, and the errors of what is fetched.

These errors are not the user's: an InputError ends a job, a hub that does not answer does not.
Tests: tests/trainer/hub/test_models.py, tests/trainer/hub/test_datasets.py.
"""

import os

from finetune.api.errors import RunError
from finetune.api.record import REASON_MEMORY, REASON_STORAGE

TIMEOUT_VARIABLE = "FINETUNE_HUB_TIMEOUT_SECONDS"
DEFAULT_TIMEOUT_SECONDS = 30.0


class HubUnavailable(RunError):  # noqa: N818  (a state of the hub, not of the program)
    """The hub is silent, refuses connections or fails; another attempt may succeed, so the run exits with code 1, not 2."""


class FetchError(RunError):
    """What was to be fetched was not, for a reason that is neither the user's nor the hub's."""


class FetchMemoryError(FetchError):
    """The program that fetches ran out of memory, or was killed, which the machine does when it runs out."""

    reason = REASON_MEMORY


class FetchStorageError(FetchError):
    """It could not be written."""

    reason = REASON_STORAGE


def hub_timeout_seconds() -> float:
    """Return the time-out for one answer of the hub: FINETUNE_HUB_TIMEOUT_SECONDS, else 30 s."""
    return float(os.environ.get(TIMEOUT_VARIABLE) or DEFAULT_TIMEOUT_SECONDS)
