"""A place that is a folder of this machine, or one that is mounted here: a PersistentVolumeClaim, a laptop's disk.

Everything is written under a hidden name beside its target, so on the same file system, flushed and renamed. A folder that
replaces another needs two renames; if a kill comes between them, the earlier one still answers to its name.
Test: tests/trainer/storage/test_place.py.
"""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from finetune.system.files import STAGED, staged, sync, write_atomically
from trainer.storage.place import checked_name, inner_name

REPLACED, REMOVED = ".finetune-replaced", ".finetune-removed"
"""Endings of hidden names: a folder that makes way for one that was written, one that is being deleted."""


ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True)
class LocalFolder:
    """A folder; `address` is how the user names it where that is not its path, such as pvc://claim/path."""

    root: Path
    address: str | None = None

    def below(self, folder: str) -> "LocalFolder":
        """Return a folder in this one; it need not be there yet."""
        return LocalFolder(self.root / checked_name(folder), self.uri(folder))

    def uri(self, name: str = "") -> str:
        """Return the address or path of a name."""
        base = (self.address or str(self.root)).rstrip("/")
        return f"{base}/{name}" if name else base or "/"

    @contextmanager
    def stage(self, name: str) -> Iterator["StagedFolder"]:
        """Begin a folder beside its target."""
        target = self._target(name)
        begun = StagedFolder(staged(target), target)
        shutil.rmtree(begun.folder, ignore_errors=True)  # left by a killed writer
        begun.folder.mkdir()
        try:
            yield begun
        finally:
            # On a full disk, half a folder would leave no room for anything else.
            shutil.rmtree(begun.folder, ignore_errors=True)

    def put(self, name: str, text: str, *, durable: bool = True) -> None:
        """Write a file atomically, and by default durably."""
        write_atomically(self._target(name), text, durable=durable)

    def fetch(self, name: str) -> Path:
        """Return the path, which may be in a folder that a killed writer moved aside."""
        path = self._find(name)
        try:
            path.stat()
        except OSError as error:  # exists() takes any error for absence in newer Pythons, and a folder that fails for an empty one
            if error.errno not in ABSENT:
                raise
            raise FileNotFoundError(f"there is no {self.uri(name)}") from None
        return path

    def names(self, folder: str = "") -> list[str]:
        """List a folder without hidden files, and without links that lead nowhere, which `fetch` does not find either."""
        try:
            entries = [path.name for path in self._find(folder).iterdir() if path.exists()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        waiting = {entry[1:].removesuffix(REPLACED) for entry in entries if entry.startswith(".") and entry.endswith(REPLACED)}
        found = waiting | {entry for entry in entries if not entry.startswith(".")}
        return [f"{folder}/{entry}" if folder else entry for entry in sorted(found)]

    def remove(self, name: str) -> None:
        """Rename, then delete, so that a kill in between leaves no half of a folder under its name."""
        target = self.root / checked_name(name)
        for path in (_hidden(target, REPLACED), target):  # the earlier one first, or it would answer to the name again
            _discard(path, target)

    def recover(self, folder: str = "") -> None:
        """Delete staged files and folders and half-deleted ones; put a folder back whose replacement never came."""
        parent = self.root / inner_name(folder)
        for hidden in list(parent.glob(".*")) if parent.is_dir() else []:
            if hidden.name.endswith((STAGED, REMOVED)):
                shutil.rmtree(hidden, ignore_errors=True) if hidden.is_dir() else hidden.unlink(missing_ok=True)
            elif hidden.name.endswith(REPLACED):
                _settle(parent / hidden.name[1:].removesuffix(REPLACED))

    def _find(self, name: str) -> Path:
        """Return the path to read a name from; each folder on the way may be one that a killed writer moved aside."""
        path = self.root
        for part in PurePosixPath(inner_name(name)).parts:
            path = path / part
            if not path.exists() and _hidden(path, REPLACED).exists():
                path = _hidden(path, REPLACED)
        return path

    def _target(self, name: str) -> Path:
        """Return the path to write a name to; the folders above it are made, and are on the disk."""
        target = self.root / checked_name(name)
        missing = [parent for parent in target.parents if not parent.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync(folder.parent)
        return target


@dataclass(frozen=True)
class StagedFolder:
    """A folder beside `target`, which it becomes when it is published."""

    folder: Path
    target: Path

    def flush(self) -> None:
        """Sync every file and folder."""
        for path in (*self.folder.rglob("*"), self.folder):
            sync(path)

    def publish(self, check: Callable[[Path], object] | None = None) -> None:
        """Sync, check and rename."""
        self.flush()
        if check is not None:
            check(self.folder)
        try:
            if self.target.exists():
                _discard(_hidden(self.target, REPLACED), self.target)
                self.target.rename(_hidden(self.target, REPLACED))
            self.folder.rename(self.target)
            sync(self.target.parent)
        finally:
            # Also when a signal's exception comes between the two: then the earlier one goes back.
            _settle(self.target)


def _hidden(target: Path, ending: str) -> Path:
    return target.with_name(f".{target.name}{ending}")


def _settle(target: Path) -> None:
    """Delete the folder that a new one replaced, or put it back where no new one came."""
    replaced = _hidden(target, REPLACED)
    if target.exists():
        _discard(replaced, target)
    elif replaced.exists():
        replaced.rename(target)


def _discard(path: Path, target: Path) -> None:
    """Remove a file, link or folder; a folder is hidden first, beside `target`."""
    if path.is_dir() and not path.is_symlink():
        removed = _hidden(target, REMOVED)
        shutil.rmtree(removed, ignore_errors=True)
        path.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
