"""The interface of a place that holds a run's results, or files of rows: a local folder, later an object store.

A name is a relative path of plain parts, such as `checkpoints/step-200` or `report.json`. Only one process writes below a
folder of a place at a time; others may read. No place checks that: see `staged` in finetune/system/files.py for who ensures it.
Folders are written and read as local folders, whatever the kind: staged until they are published, fetched before they are read.
A new kind is a file with a class of this shape and, for results, a row in kinds.py; rows are found by trainer/data/files.py,
which looks for local files and gives each its place. Contract test: tests/trainer/storage/test_place.py.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Protocol


class Staged(Protocol):
    """A folder that is being written and has no name yet."""

    @property
    def folder(self) -> Path:
        """A local folder, empty at first."""

    def flush(self) -> None:
        """Make what was written survive a power cut, which takes long, without publishing it."""

    def publish(self, check: Callable[[Path], object] | None = None) -> None:
        """Flush, and give the folder its name in one step; whatever had the name before is gone then.

        `check` is called before that with the folder as the place gives it back. When it raises, nothing is published.
        """


class Place(Protocol):
    """Holds files and folders by name. Every method raises OSError when the place fails."""

    def below(self, folder: str) -> "Place":
        """Return the place that begins at a folder of this one."""

    def uri(self, name: str = "") -> str:
        """Return what the user knows a name by: a path, or an address such as pvc://claim/path."""

    def stage(self, name: str) -> AbstractContextManager[Staged]:
        """Begin a folder that appears whole or not at all; if the context ends before it is published, it is deleted."""

    def put(self, name: str, text: str, *, durable: bool = True) -> None:
        """Write one small file: a reader sees the old text or the new, if `durable` also after a power cut. Only for its one writer."""

    def fetch(self, name: str) -> Path:
        """Return a local path of a file or folder, to read only. FileNotFoundError when the name is not there."""

    def names(self, folder: str = "") -> list[str]:
        """Return the names directly in a folder, in order; none when there is no such folder."""

    def remove(self, name: str) -> None:
        """Take a file or folder away, out of sight in one step; nothing happens when it is not there."""

    def recover(self, folder: str = "") -> None:
        """Clean up what a killed writer left unfinished directly in a folder. Only for the process that writes there now."""


def checked_name(name: str) -> str:
    """Return a name that may be written; ValueError for one that leads elsewhere, or that could be a place's own hidden file."""
    parts = PurePosixPath(name).parts
    if not parts or str(PurePosixPath(name)) != name or any(part.startswith((".", "/")) for part in parts):
        raise ValueError(f"{name!r} is no name in a place: it must be a relative path without . or .. and without hidden parts")
    return name


def inner_name(name: str) -> str:
    """Return a name that may be read, which may be hidden, or "" for the place itself; ValueError for one that leads elsewhere."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name!r} is no name in a place: it leads out of it")
    return name
