"""How the files are written that a program on the other side reads during a run: configuration, progress, status.

Test: tests/finetune/system/test_files.py.
"""

import os
from pathlib import Path

STAGED = ".finetune-staged"
"""Ending of the hidden name of what is being written; see `staged`."""


def staged(path: Path) -> Path:
    """Return the hidden name beside `path` under which it is written.

    It is the same for every writer, so that the leftover of one that was killed is replaced by the next. That relies on one
    writer at a time of each file or folder, which is not checked here: on a laptop `finetune` holds the lock of the output
    folder until the last process of its run has ended, on a cluster the controller starts an attempt only when nothing of
    the one before is left, and within a run each file is written by one process alone. Two at once would mix their halves.
    """
    return path.with_name(f".{path.name}{STAGED}")


def write_atomically(path: Path, text: str, *, durable: bool = False) -> None:
    """Replace a file's content in one step: a reader sees the old text or the new, never a part.

    With `durable` it has reached the disk before it takes its place, so that not even a power cut leaves an empty file.
    Only one may write the file at a time, see `staged`. Raises OSError when the disk fails; the old text stays then.
    """
    temporary = staged(path)
    try:
        # Half a character, which JSON may hold and a file may not, is written as its number: JSON reads it back.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        if durable:
            sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def whole_letters(text: str) -> str:
    """Return the text with a question mark for each half of a character, because strict readers of JSON refuse the whole text.

    Rows may hold them as escapes, and file names that are not UTF-8 become such text.
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def sync(path: Path) -> None:
    """Have the kernel write a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def drop_cached(path: Path) -> None:
    """Have the next read of a file, which must be synced, come from the disk and not from memory, where the system can do that."""
    if not hasattr(os, "posix_fadvise"):  # macOS
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
