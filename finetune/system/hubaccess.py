"""Closes a process to the Hugging Face hub: it loads only files that are there, sends no telemetry and has no token.

The hub's libraries read these variables when they are imported, so a program closes itself before, and this imports none of them. What a
trainer takes out of its environment is kept for the program that fetches (trainer/hub/fetching.py) and for nothing else.
Test: tests/finetune/system/test_hubaccess.py; of whole runs tests/finetune/cli/test_fetched_once.py.
"""

import os
from collections.abc import Mapping

CLOSED: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_EVALUATE_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    # The file that `hf auth login` leaves stays where it is.
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
}
QUIET = ("HF_HUB_DISABLE_TELEMETRY", "HF_UPDATE_DOWNLOAD_COUNTS")
"""Of these, what the program that fetches has too: it asks for files, and tells of nothing."""
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN")

_kept: dict[str, str] | None = None


def close() -> None:
    """Close this process, for good where nothing was kept."""
    for name in TOKENS:
        os.environ.pop(name, None)
    os.environ.update(CLOSED)


def closed() -> bool:
    """Return whether this process was closed by this product; a user's own HF_HUB_OFFLINE=1 does not amount to it."""
    return all(os.environ.get(name) == value for name, value in CLOSED.items())


def close_but_for_fetching() -> None:
    """Close this process, and keep what its environment had for the programs that it starts to fetch."""
    global _kept
    if _kept is None:
        _kept = {name: os.environ[name] for name in (*CLOSED, *TOKENS) if name in os.environ}
    close()


def environment_for_fetching() -> dict[str, str] | None:
    """Return the environment of a program that fetches: as this one's was before it was closed. None if this one was not closed so."""
    if _kept is None:
        return None
    others = {name: value for name, value in os.environ.items() if name not in CLOSED}
    return others | _kept | {name: CLOSED[name] for name in QUIET}


def kept_tokens() -> dict[str, str]:
    """Return the tokens that were taken out of the environment, by their names: a program that writes logs leaves them out."""
    return {name: value for name, value in (_kept or {}).items() if name in TOKENS}


def closed_environment() -> dict[str, str]:
    """Return the variables of a closed process for one that inherits a token: it is empty there, as a variable cannot be taken away."""
    return {**CLOSED, **dict.fromkeys(TOKENS, "")}
