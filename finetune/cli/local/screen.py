"""Shows a run: a moving bar where there is a terminal, a line every few seconds where there is none.

Tests: tests/finetune/cli/local/test_screen.py.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from finetune.api.record import ProgressRecord, Stage
from finetune.cli.local.news import progress_line, stage_line

PLAIN_INTERVAL_SECONDS = 10.0


class Screen(Protocol):
    """Where a run is shown."""

    def say(self, line: str) -> None:
        """Show a line that stays; it may hold the trainer's own colors."""

    def show(self, record: ProgressRecord) -> None:
        """Show how far the run is."""

    def close(self) -> None:
        """Leave the cursor on a fresh line."""


class PlainScreen:
    """Lines only: for pipes, log files and CI."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._shown_at, self._shown = float("-inf"), ""

    def say(self, line: str) -> None:
        """Write the line."""
        with contextlib.suppress(OSError):  # the reader of the pipe is gone; the run continues
            self._stream.write(line + "\n")
            self._stream.flush()

    def show(self, record: ProgressRecord) -> None:
        """Write a line at most every few seconds, and one for the last step."""
        line = progress_line(record)
        if record.stage is not Stage.TRAINING or record.progress is None or record.progress.step == 0 or line == self._shown:
            return
        last_step = record.progress.step == record.progress.total_steps
        if last_step or self._clock() - self._shown_at >= PLAIN_INTERVAL_SECONDS:
            self._shown_at, self._shown = self._clock(), line
            self.say(line)

    def close(self) -> None:
        """Nothing moves, so there is nothing to clean up."""


class RunningTime(ProgressColumn):
    """Time since the start; it goes on after the last step, when the bar is full and rich's own column stops."""

    def render(self, task: Task) -> Text:
        """Return hours, minutes and seconds."""
        return Text(str(timedelta(seconds=int(task.elapsed or 0))), style="progress.elapsed")


class BarScreen:
    """A bar at the bottom of the terminal, lines above it."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        words, figures = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[progress]}"))
        columns = (words, BarColumn(), figures, RunningTime())
        self._progress = Progress(*columns, console=console, transient=True, get_time=clock)
        self._task: TaskID = self._progress.add_task("starting", total=None, progress="")
        self._progress.start()

    def say(self, line: str) -> None:
        """Print above the bar."""
        with contextlib.suppress(OSError):  # the terminal is gone; the run ends cleanly
            self._progress.console.print(Text.from_ansi(line), soft_wrap=True)

    def show(self, record: ProgressRecord) -> None:
        """Move the bar."""
        total = record.progress.total_steps if record.progress and record.progress.total_steps else None
        completed = record.progress.step if record.progress else 0
        description = stage_line(record)
        self._progress.update(self._task, description=description, total=total, completed=completed, progress=progress_line(record))

    def close(self) -> None:
        """Remove the bar."""
        with contextlib.suppress(OSError):  # the terminal is gone
            self._progress.stop()


def open_screen() -> Screen:
    """Return the screen that fits stdout."""
    console = Console(highlight=False)
    moves = sys.stdout.isatty() and console.is_terminal and not console.is_dumb_terminal
    return BarScreen(console) if moves else PlainScreen(sys.stdout)
