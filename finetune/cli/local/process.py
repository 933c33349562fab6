"""Starts the trainer as a program under the supervisor, and stops it. Tests: tests/finetune/cli/local/test_supervisor.py."""

import contextlib
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from finetune.api.timings import STARTED_VARIABLE
from finetune.cli.local.supervisor import KILL, TERMINATE
from finetune.cli.local.surroundings import Surroundings
from finetune.system.interpreter import encoding_of
from finetune.system.scratch import DATA_VARIABLE

TRAINER_COMMAND = (sys.executable, "-P", "-m", "trainer")
"""-P: a folder called `trainer` where the user happens to be is not meant."""


def trainer_environment(place: Surroundings, terminal: bool) -> dict[str, str]:
    """Return the environment of a run, made so that the trainer is found and writes for this terminal's width and letters."""
    environment = dict(place.environment, COLUMNS=str(shutil.get_terminal_size().columns))
    environment["PYTHONIOENCODING"] = f"{encoding_of(sys.stdout)}:backslashreplace"
    if terminal:
        environment.setdefault("FORCE_COLOR", "1")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(place.packages), environment.get("PYTHONPATH")]))
    return environment


class TrainerProcess:
    """A running trainer: its lines, its end, and the two ways of stopping it."""

    def __init__(
        self,
        command: Sequence[str],
        log: IO[bytes],
        place: Surroundings,
        *,
        terminal: bool = False,
        keep_open: Sequence[int] = (),
        data: Path | None = None,
        started: float | None = None,
    ) -> None:
        """Start `command`; its stderr goes to `log`, and the supervisor holds the files `keep_open` until all has ended.

        `data` is the data folder of a run, which nobody else writes to meanwhile: if this process is killed, the supervisor
        removes the run's rows from it. `started` is when the command began, in seconds since the epoch.
        """
        variables = {DATA_VARIABLE: data, STARTED_VARIABLE: started}
        self._encoding = encoding_of(sys.stdout)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "finetune.cli.local.supervisor", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=place.start_folder,
            env=trainer_environment(place, terminal) | {name: str(value) for name, value in variables.items() if value is not None},
            start_new_session=True,  # Ctrl-C in the terminal reaches `finetune` alone, which forwards it once
            pass_fds=tuple(keep_open),
            bufsize=0,
        )
        assert self._process.stdin is not None  # noqa: S101 both are pipes
        assert self._process.stdout is not None  # noqa: S101
        self._control, self._output = self._process.stdin, self._process.stdout
        self._pending = b""

    @property
    def pid(self) -> int:
        """Process id of the supervisor, which leads the session of the whole run."""
        return self._process.pid

    def lines(self, timeout_seconds: float) -> Iterator[str] | None:
        """Wait for output at most `timeout_seconds` and return the whole lines of it; None after the last one."""
        if not select.select([self._output], [], [], timeout_seconds)[0]:
            return iter(())
        data = os.read(self._output.fileno(), 65536)
        if not data and not self._pending:
            return None
        *whole, self._pending = (self._pending + (data or b"\n")).split(b"\n")
        return iter([line.decode(self._encoding, errors="replace") for line in whole])

    def terminate(self) -> None:
        """Ask the trainer to write a checkpoint and end."""
        self._tell(TERMINATE)

    def kill(self) -> None:
        """End everything at once."""
        self._tell(KILL)

    def wait(self) -> int:
        """Return the trainer's exit code once nothing of the run is left; 128 + N when signal N ended it."""
        code = self._process.wait()
        self._control.close()
        self._output.close()
        return code if code >= 0 else 128 - code

    def _tell(self, request: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._control.write(request)
