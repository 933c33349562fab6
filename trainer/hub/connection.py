"""What models and data sets of the Hugging Face hub share: the time-out, and the error of a hub that fails.

This error is not the user's: an InputError ends a job, a hub that does not answer does not.
Tests: tests/trainer/hub/test_models.py, tests/trainer/hub/test_datasets.py.
"""

import os

from finetune.api.errors import RunError

TIMEOUT_VARIABLE = "FINETUNE_HUB_TIMEOUT_SECONDS"
DEFAULT_TIMEOUT_SECONDS = 30.0


class HubUnavailable(RunError):  # noqa: N818  (a state of the hub, not of the program)
    """The hub is silent, refuses connections or fails; another attempt may succeed, so the run exits with code 1, not 2."""


def hub_timeout_seconds() -> float:
    """Return the time-out for one answer of the hub: FINETUNE_HUB_TIMEOUT_SECONDS, else 30 s."""
    return float(os.environ.get(TIMEOUT_VARIABLE) or DEFAULT_TIMEOUT_SECONDS)
