"""The program that copies what a process writes to a log file in the output: `python -m` is not used, see trainer/logs/starting.py.

What driver and ranks write goes to local files, Ray's, which vanish with the pod. This program follows them, outside of the process
that it watches, so that a process that is killed or crashes leaves its last lines too, and no slow or broken disk holds up training.
Lines lose colors, secrets and what exceeds their length. A disk that fails is tried again; the local files hold what is to come.

Standard library alone: a follower has to be small, and there is one for each rank. Test: tests/trainer/logs/test_following.py.
"""

import argparse
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import BinaryIO

from finetune.system.redaction import plain, printable, redact, secret_values
from trainer.logs.kept import KeptLog, begin_attempt

POLL_SECONDS = 0.5
"""What is lost at most when a pod is killed with all that is in it."""
RETRY_SECONDS = 30.0
LAST_TRIES_SECONDS = 10.0
"""For a disk that fails when the process has ended."""
STOPPED_SECONDS = 1.0
"""How long a process is still followed when this program is told to end."""
NICENESS = 10
CHUNK_BYTES = 64 * 2**10
TURN_CHUNKS = 64
"""Of each source, so that a process that writes without end is still seen to end."""
LINE_MAX_LENGTH = 4000
BEHIND_MAX_BYTES, CAUGHT_UP_BYTES = 4 * 2**20, 2**19
"""So far behind, a follower goes on nearer to the end: a file keeps no more."""
ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
END_OF_LOG = "--- end of the log of"
RAYS_MARKS = re.compile(r":(?:job_id|actor_name|task_name):")
COMMANDS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
"""What moves a terminal's cursor, clears its lines or names its window."""
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
"""Control and format characters, which take no place in a line: inside a secret they would hide it from `redact`."""
KEY_EDGE = re.compile(r"-----(BEGIN|END) [A-Z ]*PRIVATE KEY(?: BLOCK)?-----")
KEY_MAX_LENGTH = 2**14
"""Of a private key, which lasts for several lines. What has no end after so much is none, and lines are shown again."""


@dataclass(frozen=True)
class Watched:
    """A process, known by its number and start time, because numbers are used again."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "Watched":
        """Return the process that has the number. OSError where there is none."""
        return cls(pid, _stat(pid)[19])

    @property
    def alive(self) -> bool:
        """Whether it has not ended; one that nobody has asked for its end has."""
        try:
            fields = _stat(self.pid)
        except OSError:
            return False
        return fields[19] == self.started and fields[0] not in "ZX"


def _stat(pid: int) -> list[str]:
    """Return the fields of proc_pid_stat(5) from the state on."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()


class Source:
    """A local file that grows. `file` is open for reading, so that it may be deleted meanwhile."""

    def __init__(self, file: BinaryIO, values: Sequence[str]) -> None:
        self._file, self._values = file, values
        self._begun = b""
        """A line that has no end yet."""
        self._key_left = 0
        """How much longer a private key may be of which the last part that was read had no end."""

    def read(self, *, ended: bool = False) -> str:
        """Return the next lines, clean; empty at the end of the file. With `ended` also a last one without an end."""
        text, data = self._skip(), b"more"
        while data and not text:
            data = self._file.read(CHUNK_BYTES)
            text = self._cleaned(data, last=ended and not data)
        return text

    def _cleaned(self, data: bytes, *, last: bool) -> str:
        lines = (self._begun + data).split(b"\n")
        # The first part of a line without an end, so that no half of a secret is at the border of what is shown.
        self._begun = _going_on(lines.pop())[:CHUNK_BYTES]
        if last and self._begun:
            lines, self._begun = [*lines, self._begun], b""
        if not lines:
            return ""
        cleaned = self._without_begun_key("\n".join(_seen(_shown(line).decode("utf-8", "replace")) for line in lines))
        if cleaned is None:
            return ""
        return "".join(f"{_short(line)}\n" for line in redact(cleaned, self._values).split("\n") if not RAYS_MARKS.match(line))

    def _without_begun_key(self, text: str) -> str | None:
        """Return what follows the end of a private key that an earlier part began; None where all is of the key."""
        if self._key_left:
            end = next((edge for edge in KEY_EDGE.finditer(text) if edge[1] == "END"), None)
            if end is None:
                self._key_left = max(0, self._key_left - len(text) - 1)
                return None
            self._key_left, text = 0, text[end.end() :]
            if not text:
                return None
            text = text.removeprefix("\n")
        *_, last = (None, *KEY_EDGE.finditer(text))
        if last is not None and last[1] == "BEGIN":
            self._key_left = max(0, KEY_MAX_LENGTH - len(text) + last.end())
        return text

    def _skip(self) -> str:
        behind = os.fstat(self._file.fileno()).st_size - self._file.tell()
        if behind <= BEHIND_MAX_BYTES:
            return ""
        left_out = len(self._begun) + behind - CAUGHT_UP_BYTES
        self._file.seek(behind - CAUGHT_UP_BYTES, os.SEEK_CUR)
        left_out += len(self._file.readline())
        self._begun = b""
        return f"[too much at once: {left_out} bytes left out]\n"


def _shown(line: bytes) -> bytes:
    """Return what a terminal shows of a line: a progress bar goes back to its beginning again and again."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]


def _going_on(line: bytes) -> bytes:
    """Return what a terminal shows of a line that may go on."""
    return _shown(line) + (b"\r" if line.endswith(b"\r") else b"")


def _seen(line: str) -> str:
    """Return a line without what a terminal does not show; other signs that it may not show, such as rare blanks, become blanks."""
    line = UNSEEN.sub("", COMMANDS.sub("", plain(line)))
    return line if line.isprintable() else printable(line)


def _short(line: str) -> str:
    return line if len(line) <= LINE_MAX_LENGTH else f"{line[:LINE_MAX_LENGTH]}… [{len(line) - LINE_MAX_LENGTH} characters left out]"


class Follower:
    """Copies from sources to a log. What could not be written is kept, and nothing more is read until it is."""

    def __init__(self, sources: Sequence[Source], begin: Callable[[], KeptLog], say: Callable[[str], None], first: str) -> None:
        """`begin` returns the log, and is called until it does. `say` is told once that the output takes none. `first`: its first line."""
        self._sources, self._begin, self._say = sources, begin, say
        self._log: KeptLog | None = None
        self._unwritten, self._failed, self._ended = first, False, False

    def turn(self, *, ended: bool = False) -> bool:
        """Copy what there is; return whether all is written."""
        if not self._write(""):
            return False
        for _ in count() if ended else range(TURN_CHUNKS):
            read = [source.read(ended=ended) for source in self._sources]
            if not any(read):
                break
            if not self._write("".join(read)):
                return False
        return True

    def end(self, last: str) -> bool:
        """Write the last line, after all others; return whether it was possible."""
        done = self.turn(ended=True)
        if done and not self._ended:
            self._ended = True
            done = self._write(last)
        return done

    def _write(self, text: str) -> bool:
        self._unwritten += text
        if not self._unwritten:
            return True
        try:
            self._log = self._log or self._begin()
            self._log.add(self._unwritten)
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._say(f"cannot write logs to the output; training continues: {error}")
            return False
        self._unwritten = ""
        return True


def follow(watched: Watched, follower: Follower, title: str, wait: Callable[[float], bool], clock: Callable[[], float]) -> None:
    """Copy until the process has ended. `wait` waits so many seconds, and returns at once, and True, when this program is to end."""
    until = float("inf")
    pause = POLL_SECONDS
    while watched.alive and clock() < until:
        pause = POLL_SECONDS if follower.turn() else RETRY_SECONDS
        if _waited(watched, min(pause, max(0.0, until - clock())), wait, clock):
            until = min(until, clock() + STOPPED_SECONDS)
    last = f"{END_OF_LOG} {title}, {_now()} ---\n"
    deadline = min(until, clock() + LAST_TRIES_SECONDS)
    while not follower.end(last) and clock() < deadline:
        wait(1.0)


def _waited(watched: Watched, seconds: float, wait: Callable[[float], bool], clock: Callable[[], float]) -> bool:
    """Wait, but no longer than the process lives; return whether this program is to end."""
    deadline = clock() + seconds
    while (left := deadline - clock()) > 0:
        if wait(min(left, POLL_SECONDS)):
            return True
        if not watched.alive:
            break
    return False


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _told_to_end(seconds: float) -> bool:
    return signal.sigtimedwait(ENDS, seconds) is not None


def _complain(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Follow the sources of a process to its end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--logs", type=Path, required=True, help="the folder of all attempts")
    parser.add_argument("--attempt", type=int, required=True)
    parser.add_argument("--name", required=True, help="the file, such as rank-0.log")
    parser.add_argument("--title", required=True, help="who writes, as people read it")
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--started", required=True, help="start time of the process, as /proc has it")
    parser.add_argument("sources", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    files = [path.open("rb") for path in options.sources]
    if os.fork():  # an orphan: Ray kills the children of a worker that ends, before the last lines are copied
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    os.nice(NICENESS)
    values = secret_values(os.environ)
    first = f"--- {options.title} of attempt {options.attempt}, process {options.pid} on {socket.gethostname()}, {_now()} ---\n"
    follower = Follower(
        [Source(file, values) for file in files],
        lambda: KeptLog(begin_attempt(options.logs, options.attempt) / options.name),
        _complain,
        first,
    )
    follow(Watched(options.pid, options.started), follower, options.title, _told_to_end, time.monotonic)
