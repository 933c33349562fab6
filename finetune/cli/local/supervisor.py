"""Runs between `finetune` and the trainer so that no process of a run outlives it, however either of them dies.

Ray's daemons start sessions of their own and their parents exit, so killing a process group does not reach them. This
process is a child subreaper (prctl(2)): whatever is orphaned below it becomes its child, and it ends all of it when the
trainer has ended, or when the pipe on its stdin closes because `finetune` is gone; then it also removes the run's temporary
folders. If this process itself is killed, the
trainer is killed by the kernel (PR_SET_PDEATHSIG) and Ray's daemons by Ray's own use of the same.

`python -m finetune.cli.local.supervisor PROGRAM ARGUMENT…`; bytes on stdin: `t` stops the trainer, `k` kills everything.
Processes are known by pid and start time, never by name. Tests: tests/finetune/cli/local/test_supervisor.py.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from finetune.system.scratch import DATA_VARIABLE, FOLDER_VARIABLE, remove_starts

TERMINATE, KILL = b"t", b"k"
STOP_SECONDS = 300.0
"""A large model's checkpoint takes minutes to write; after this the trainer counts as hung."""
ABANDONED_SECONDS = 5.0
"""Grace when `finetune` has died: its user expects the machine back."""
LEFTOVER_SECONDS = 3.0
"""Ray's daemons need one or two seconds to leave by themselves."""
POLL_SECONDS = 1.0

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def _prctl(option: int, value: int) -> bool:
    """Set a property of this process; False where there is no prctl (macOS)."""
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0) == 0)


class Descendants:
    """All processes below this one, the orphaned ones included."""

    def __init__(self) -> None:
        self._subreaper = _prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._seen: set[psutil.Process] = set()

    def watch(self) -> None:
        """Remember who is there; needed only where orphans do not become our children."""
        if not self._subreaper:
            self.alive()

    def alive(self) -> set[psutil.Process]:
        """Return those that run now."""
        for process in [psutil.Process()] if self._subreaper else [psutil.Process(), *self._seen]:
            with contextlib.suppress(psutil.Error):
                self._seen.update(process.children(recursive=True))
        self._seen = {process for process in self._seen if _runs(process)}
        return set(self._seen)

    def end(self, grace_seconds: float) -> None:
        """Terminate all, kill after `grace_seconds` what is left, and return when nothing is."""
        kill_at = time.monotonic() + grace_seconds
        asked: set[psutil.Process] = set()
        while remaining := self.alive():
            late = time.monotonic() >= kill_at
            for process in remaining if late else remaining - asked:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL if late else signal.SIGTERM)
            asked |= remaining
            time.sleep(0.05)
            _reap()


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _reap() -> dict[int, int]:
    """Collect ended children, adopted ones too; return exit codes by pid (negative: the signal)."""
    codes: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
            codes[ended[0]] = os.waitstatus_to_exitcode(ended[1])
    return codes


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    supervisor = os.getpid()

    def die_with_supervisor() -> None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)

    # This process has one thread, so code between fork and exec is safe.
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=die_with_supervisor)


def supervise(command: list[str], control: int = 0) -> int:
    """Run `command` until it ends or `control` says so; return its exit code, 128 + N when signal N ended it."""
    descendants = Descendants()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    asked_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_stop.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only to be woken by it
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    trainer = _start(command)
    deadline = float("inf")
    channels = [control, wake_read]
    while (code := _reap().get(trainer.pid)) is None and time.monotonic() < deadline:
        readable, _, _ = select.select(channels, [], [], min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
        if wake_read in readable:
            os.read(wake_read, 4096)
        request = b""
        if control in readable:
            request = os.read(control, 1)
            if not request:
                channels.remove(control)
                deadline = min(deadline, time.monotonic() + ABANDONED_SECONDS)
        if request == KILL:
            deadline = time.monotonic()
        elif request == TERMINATE or asked_to_stop or (control in readable and not request):
            asked_to_stop.clear()
            deadline = min(deadline, time.monotonic() + STOP_SECONDS)
            os.kill(trainer.pid, signal.SIGTERM)  # not reaped yet, so the pid is still the trainer's
        descendants.watch()
    descendants.end(LEFTOVER_SECONDS if code is not None else 0.0)
    if code is None:
        code = -signal.SIGKILL
    if control not in channels:
        _clean_up()
    trainer.returncode = code
    return code if code >= 0 else 128 - code


def _clean_up() -> None:
    """Remove in place of `finetune`, which is gone, what this run needed only while it lasted; no process of it is left."""
    if FOLDER_VARIABLE in os.environ:
        shutil.rmtree(os.environ[FOLDER_VARIABLE], ignore_errors=True)
    if DATA_VARIABLE in os.environ:
        remove_starts(Path(os.environ[DATA_VARIABLE]))


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1:]))
