"""`finetune export`: writes a run's model again, from its checkpoints, without training. Tests: tests/controller/cli/test_export.py."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.cli.interrupts import Interrupts
from controller.cli.localrun import Folders
from controller.cli.output import locked
from controller.cli.problems import BadInputError
from controller.cli.surroundings import surroundings
from controller.cli.trainer_process import TrainerProcess
from trainer.config.errors import InputError
from trainer.config.record import EXIT_INTERRUPTED

EXPORT_COMMAND = (sys.executable, "-P", "-m", "trainer.export")


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
        raise BadInputError([InputError("finetune export", "is not told what to write", "give --merged, --adapter or both")])
    if not (run / "run.json").is_file():
        problem = f"{run} holds no run: it has no run.json" if run.is_dir() else f"there is no folder {run}"
        raise BadInputError([InputError("DIR", problem, "name the folder that a run was written to")])
    arguments = [str(run), "--to", str(request.to.absolute() if request.to else run / "model")]
    arguments += [part for form in request.forms for part in ("--form", form)]
    arguments += ["--dtype", request.dtype] if request.dtype else []
    arguments += ["--base", str(request.base.absolute())] if request.base else []
    arguments += ["--overwrite"] if request.overwrite else []
    with Interrupts() as interrupts, surroundings() as place, _alone(run, request.to) as lock:
        with interrupts.held():
            process = TrainerProcess([*command, *arguments], sys.stderr.buffer, place, keep_open=lock)
            interrupts.pass_to(process)
        while (lines := process.lines(1.0)) is not None:
            for line in lines:
                print(line, flush=True)
        exit_code = process.wait()
    if interrupts.received:
        print("interrupted: nothing was written", file=sys.stderr)
        return EXIT_INTERRUPTED
    return exit_code


@contextlib.contextmanager
def _alone(run: Path, to: Path | None) -> Iterator[list[int]]:
    """Hold the run's folder while it is written to; where only its checkpoints are read, it may be another's, or at work."""
    if to is not None:
        yield []
        return
    with locked(Folders(run)) as lock:
        yield [lock]
