"""Temporary folders that may hold a copy of the user's data, and that are removed however the process that made them ends.

A process that leaves at once runs no `finally` and no exit handler: it calls `remove_all`. What one leaves that is killed goes
with the run's folder, or is removed by `remove_starts`: by `finetune`, by the supervisor when `finetune` is gone, or, on a cluster
or when both were killed, by a later start. Tests: tests/finetune/system/test_scratch.py.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

FOLDER_VARIABLE = "FINETUNE_RUN_FOLDER"
"""Names the run's temporary folder, which `finetune`, or the supervisor when `finetune` is gone, removes at the end."""
DATA_VARIABLE = "FINETUNE_RUN_DATA"
"""Names the run's data folder, which the supervisor frees of what this start left when `finetune` is gone."""
DATA = Path(".finetune") / "data"
"""The folder, in the output folder, of rows and tokens."""
START = "start-"
"""How the name of a folder in it begins that belongs to one start and is of no use after it."""
TRIES = 10
"""A thread that still writes may add a file between listing and removing a folder, but not again and again."""

_held: set[Path] = set()


def run_folder() -> Path | None:
    """Return the run's temporary folder; None for a trainer that `finetune` did not start."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else None


def hold(folder: Path) -> None:
    """Have `remove_all` remove a folder of this process."""
    _held.add(folder)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Hold a folder, and remove it at the end."""
    hold(folder)
    try:
        yield folder
    finally:
        _remove(folder)
        _held.discard(folder)


def remove_all() -> None:
    """Remove the folders that this process holds, also while its other threads write to them."""
    while _held:
        _remove(_held.pop())


def remove_starts(data: Path, but: Path | None = None) -> None:
    """Remove what killed starts left in a data folder, while no other start than that of the folder `but` is alive."""
    for left in data.glob(f"{START}*"):
        if left != but:
            _remove(left)


def _remove(folder: Path) -> None:
    for _ in range(TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
