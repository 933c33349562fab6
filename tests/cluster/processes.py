"""Child processes with own logs, which a later process can stop without ever hitting somebody else's.

A cluster that `up` leaves running is ended by another process. All that connects the two is a JSON file with each
child's pid and start time: a pid alone may have been reused, and a name is shared with other people's programs.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

STOP_SECONDS = 5.0
POLL_SECONDS = 0.05
SERVER_PORTS = range(20000, 30000)  # above Ray's worker ports, below NodePorts and the ports Linux gives away


class ProcessError(RuntimeError):
    """A child ended or never became ready; the message carries the end of its log."""


@dataclass(frozen=True)
class ProcessIdentity:
    """A pid together with its start time in clock ticks since boot: unique until the machine restarts."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        return cls(pid, _start_ticks(pid))

    def alive(self) -> bool:
        return self.start_ticks != 0 and _start_ticks(self.pid) == self.start_ticks


def _start_ticks(pid: int) -> int:
    """Start time of a process, 0 when it is gone or only waits to be reaped."""
    try:
        # The name, in parentheses, may hold spaces; what follows the last parenthesis may not.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def command_line(pid: int) -> str:
    """The command of a process as a person would read it, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def stop(identity: ProcessIdentity, seconds: float = STOP_SECONDS) -> None:
    """End a process and its group: SIGTERM, then SIGKILL for what is left. A reused pid is left alone."""
    if not identity.alive():
        _reap(identity.pid)
        return
    _signal_group(identity.pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while identity.alive() and time.monotonic() < deadline:
        _reap(identity.pid)
        time.sleep(POLL_SECONDS)
    _signal_group(identity.pid, signal.SIGKILL)
    while identity.alive():
        _reap(identity.pid)
        time.sleep(POLL_SECONDS)
    _reap(identity.pid)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


class ProcessTable:
    """The children of one cluster, on record before anything else happens, ended in reverse order."""

    def __init__(self, directory: Path) -> None:
        self.record = directory / "processes.json"
        self.logs = directory / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> ProcessIdentity:
        """Start a child in a session of its own, so that signals to the tests' terminal do not reach it."""
        with (self.logs / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        identity = ProcessIdentity.of(child.pid)
        child.returncode = 0  # `stop` reaps it, maybe from another process: Popen must not warn about it
        self._write({**self._read(), name: identity})
        return identity

    def wait_until(self, name: str, ready: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Wait for a child to become ready; its early end or the time-out is an error with the end of its log."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.alive(name):
                raise ProcessError(f"{name} ended before {what}; its log ends:\n{self.log_tail(name)}")
            if time.monotonic() > deadline:
                raise ProcessError(f"{name}: {what} did not happen within {seconds:.0f} s; its log ends:\n{self.log_tail(name)}")
            time.sleep(POLL_SECONDS)

    def stop(self, name: str, seconds: float = STOP_SECONDS) -> None:
        children = self._read()
        identity = children.pop(name, None)
        if identity is not None:
            stop(identity, seconds)
            self._write(children)

    def stop_all(self) -> None:
        for name in reversed(self._read()):
            self.stop(name)

    def alive(self, name: str) -> bool:
        identity = self._read().get(name)
        return identity is not None and identity.alive()

    def names(self) -> list[str]:
        return list(self._read())

    def identity(self, name: str) -> ProcessIdentity:
        return self._read()[name]

    def log_tail(self, name: str, lines: int = 15) -> str:
        return "\n".join((self.logs / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])

    def _read(self) -> dict[str, ProcessIdentity]:
        if not self.record.exists():
            return {}
        return {name: ProcessIdentity(**entry) for name, entry in json.loads(self.record.read_text()).items()}

    def _write(self, children: Mapping[str, ProcessIdentity]) -> None:
        partial = self.record.with_suffix(".partial")
        partial.write_text(json.dumps({name: asdict(identity) for name, identity in children.items()}, indent=1))
        partial.rename(self.record)


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """Ports that nobody listens on now, outside the range that the kernel gives to whoever asks for any port.

    A program may start on its port minutes after it was chosen. Out of that range, no worker that binds port 0 or
    opens a connection in the meantime is given it.
    """
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        candidates = iter(random.sample(SERVER_PORTS, len(SERVER_PORTS)))
        while len(ports) < count:
            port = next(candidates, None)
            if port is None:
                raise ProcessError(f"{address} has fewer than {count} free ports in {SERVER_PORTS}")
            listener = stack.enter_context(socket.socket())  # held until the last is found, so that none comes twice
            with contextlib.suppress(OSError):
                listener.bind((address, port))
                ports.append(port)
        return ports
