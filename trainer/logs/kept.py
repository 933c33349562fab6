"""A log file of bounded size, and the folders of attempts, of which only the newest stay.

A file that has become too long keeps its beginning, which says how a process was started, and its end, which says how it ended.
Standard library alone, because the program that writes them has to be small. Test: tests/trainer/logs/test_kept.py.
"""

import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from finetune.system.files import write_atomically

FILE_MAX_BYTES = 512 * 2**10
BEGINNING_BYTES, END_BYTES = 64 * 2**10, 192 * 2**10
"""What stays of a file that has reached its size. Their sum is half of it, so that it is written anew seldom."""
ATTEMPTS_KEPT = 5
ATTEMPT = "attempt-"
LOCK_SECONDS = 1.0
"""Longer than any addition takes. A lock that stays may be that of a node that is gone: an addition fails then, and is tried again."""
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}
"""What file systems without locks say."""
GAP = re.compile(rb"(?m)^\[(\d+) bytes left out\]\n")
"""The line between beginning and end. A process that prints such a line has it indented, so that it is not taken for this one."""


def folder_of_attempt(logs: Path, attempt: int) -> Path:
    """Return the folder of an attempt's logs."""
    return logs / f"{ATTEMPT}{attempt}"


def begin_attempt(logs: Path, attempt: int) -> Path:
    """Make the folder of an attempt; whoever does it first removes those of the attempts that are no longer kept."""
    logs.mkdir(parents=True, exist_ok=True)
    folder = folder_of_attempt(logs, attempt)
    try:
        folder.mkdir()
    except FileExistsError:
        return folder
    numbered = {int(found[1]): path for path in logs.iterdir() if (found := re.fullmatch(rf"{ATTEMPT}(\d+)", path.name))}
    for number in sorted(numbered, reverse=True)[ATTEMPTS_KEPT:]:
        if number != attempt:
            shutil.rmtree(numbered[number], ignore_errors=True)
    return folder


class KeptLog:
    """One file. It is opened for each addition: a file that is closed has reached a server that holds it.

    Further runs of a job write to the same file, and so may the follower of a run that was replaced: each addition locks it.
    """

    def __init__(self, path: Path, max_bytes: int = FILE_MAX_BYTES, ends: tuple[int, int] = (BEGINNING_BYTES, END_BYTES)) -> None:
        self._path, self._max_bytes, self._ends = path, max_bytes, ends

    def add(self, text: str) -> None:
        """Append whole lines, those that look like `GAP` indented.

        Raises OSError when the disk fails; nothing of the text is in the file then.
        """
        data = GAP.sub(rb" \g<0>", text.encode("utf-8", "replace"))
        with self._locked() as file:
            size = os.fstat(file.fileno()).st_size
            if size + len(data) > self._max_bytes:
                write_atomically(self._path, self._shortened(self._path.read_bytes() + data).decode("utf-8", "replace"))
                return
            try:
                left = memoryview(data)
                while left:
                    left = left[file.write(left) or 0 :]
            except OSError:
                file.truncate(size)
                raise

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """Open and lock the file that has the log's name: another writer may replace it by a shorter one while its lock is waited for."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            with self._path.open("ab", buffering=0) as file:
                if _lock(file, deadline) and self._is(file):
                    yield file
                    return

    def _is(self, file: BinaryIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def _shortened(self, content: bytes) -> bytes:
        """Return beginning and end of a file, with a line between that says how much is gone, also of what went before."""
        left_out, gap = 0, GAP.search(content, 0, self._ends[0] + 64)
        if gap is not None:
            left_out, beginning, rest = int(gap[1]), content[: gap.start()], content[gap.end() :]
        else:
            cut = content.rfind(b"\n", 0, self._ends[0]) + 1
            beginning, rest = content[:cut], content[cut:]
        end = rest[-self._ends[1] :]
        end = end[end.find(b"\n") + 1 :]
        left_out += len(rest) - len(end)
        return beginning + b"[%d bytes left out]\n" % left_out + end


def _lock(file: BinaryIO, deadline: float) -> bool:
    """Lock a file, where its file system can. Raises OSError at the deadline."""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return True
        else:
            return True
