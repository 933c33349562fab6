"""`finetune export`: writes a run's model again, from its checkpoints, without training. Tests: tests/finetune/cli/test_export.py."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.api.errors import BadInputError, InputError
from finetune.api.record import EXIT_INTERRUPTED, EXIT_SUCCESS
from finetune.api.results import MODEL
from finetune.cli.local.configuration import Folders
from finetune.cli.local.interrupts import Interrupts
from finetune.cli.local.output import locked
from finetune.cli.local.process import TrainerProcess
from finetune.cli.local.screen import PlainScreen
from finetune.cli.local.surroundings import surroundings

EXPORT_COMMAND = (sys.executable, "-P", "-m", "trainer.export")
ELSEWHERE = "write elsewhere with --to FOLDER"


@dataclass(frozen=True)
class ExportRequest:
    """What the command line asks for; `forms` are adapter and merged, `to` is None for the run's own model folder."""

    run: Path
    forms: tuple[str, ...]
    dtype: str | None = None
    to: Path | None = None
    base: Path | None = None
    overwrite: bool = False


def export(request: ExportRequest, command: Sequence[str] = EXPORT_COMMAND) -> int:
    """Export and return the exit code; BadInputError for the user's mistakes, OutputBusyError while the run is being written."""
    run = request.run.absolute()
    if not request.forms:
        raise BadInputError([InputError("finetune export", "has nothing to write", "give --merged, --adapter or both")])
    if not (run / "run.json").is_file():
        problem = f"{run} holds no run: it has no run.json" if run.is_dir() else f"there is no folder {run}"
        raise BadInputError([InputError("DIR", problem, "name the folder that a run was written to")])
    to = run / MODEL if request.to is None else request.to.absolute()
    own = os.path.realpath(to) == os.path.realpath(run / MODEL)
    # By this name the trainer knows the run's own folder, and enters in the report what it writes there.
    field, to = ("DIR", run / MODEL) if own else ("--to", to)
    _refuse_unwritable(to, field)
    arguments = [str(run), "--to", str(to)]
    arguments += [part for form in request.forms for part in ("--form", form)]
    arguments += ["--dtype", request.dtype] if request.dtype else []
    arguments += ["--base", str(request.base.absolute())] if request.base else []
    arguments += ["--overwrite"] if request.overwrite else []
    before = _in_place(to, request.forms)
    screen, complaints = PlainScreen(sys.stdout), PlainScreen(sys.stderr)
    with Interrupts() as interrupts, surroundings(to, field) as place, _alone(run, own=own) as lock:
        for warning in place.warnings:
            complaints.say(f"warning: {warning}")
        with interrupts.held():
            process = TrainerProcess([*command, *arguments], sys.stderr.buffer, place, keep_open=lock)
            interrupts.pass_to(process)
        while (lines := process.lines(1.0)) is not None:
            for line in lines:
                screen.say(line)
        exit_code = process.wait()
    if not interrupts.received or exit_code == EXIT_SUCCESS:  # it may have been done when the signal came
        return exit_code
    written = _in_place(to, request.forms) != before
    complaints.say("interrupted; what was written so far is complete" if written else "interrupted; nothing was written")
    return EXIT_INTERRUPTED


def _in_place(to: Path, forms: Sequence[str]) -> dict[str, int]:
    """Return which folder each form is in now: an export replaces the whole folder, and only when it is complete."""
    return {form: (to / form).stat().st_ino for form in forms if (to / form).is_dir()}


def _refuse_unwritable(to: Path, field: str) -> None:
    """Raise BadInputError where the folder to write to cannot be made or written, before a model is loaded."""
    there = next(path for path in (to, *to.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise BadInputError([InputError(field, f"{there} is not a folder", "give a folder; it is made where it is missing")])
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise BadInputError([InputError(field, f"{there} cannot be written ({error.strerror})", ELSEWHERE)]) from error


@contextlib.contextmanager
def _alone(run: Path, *, own: bool) -> Iterator[list[int]]:
    """Hold the run's folder while it is written to; where only its checkpoints are read, it may be another's, or at work."""
    if not own:
        yield []
        return
    with locked(Folders(run), field="DIR") as lock:
        yield [lock]
