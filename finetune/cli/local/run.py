"""`finetune run`: trains the job of a file on this machine and shows how it goes. Tests: tests/finetune/cli/local/test_run.py."""

import contextlib
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from finetune.api.errors import BadInputError, InputError
from finetune.api.record import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_SUCCESS, Result
from finetune.api.results import ResultsFolder, missing_ablations, missing_results, read_report
from finetune.api.status import FineTuneJobStatus
from finetune.api.trainconfig import TrainConfig
from finetune.cli.jobfile.reading import JobFile, read_job_file
from finetune.cli.local.configuration import Folders, plan_local_run, prepare
from finetune.cli.local.follow import Follower, read_status
from finetune.cli.local.inspection import ask_trainer
from finetune.cli.local.interrupts import Interrupts
from finetune.cli.local.machine import Machine
from finetune.cli.local.outcome import Commands, LogTail, report_end, run_command_line, using_command_lines
from finetune.cli.local.output import locked, previous_run_finished, refuse_foreign_files
from finetune.cli.local.process import TRAINER_COMMAND, TrainerProcess
from finetune.cli.local.replacing import discard_once_replaced, set_aside, settle, waits_for_its_place
from finetune.cli.local.screen import BarScreen, Screen, open_screen
from finetune.cli.local.status import begin
from finetune.cli.local.surroundings import Surroundings, surroundings
from finetune.cli.local.timings import budget
from finetune.system.scratch import DATA, remove_starts

POLL_SECONDS = 0.5
EXIT_CODES = {Result.SUCCEEDED: EXIT_SUCCESS, Result.INTERRUPTED: EXIT_INTERRUPTED}
WORKER_LOG_LINE = re.compile(r"(\x1b\[\d+m)*\((\w+ )?(\w+, )?pid=\d+")
"""How Ray begins what it forwards from workers; it is log, not the trainer's own output."""


@dataclass(frozen=True)
class RunRequest:
    """What the command line asks for."""

    job_file: Path
    output: Path
    claims: Mapping[str, Path]
    overwrite: bool = False
    verbose: bool = False
    timings: bool = False
    """Show how long each stage took."""
    dashboard: bool = False
    """Start Ray's dashboard too."""
    jobs: Mapping[str, Path] = field(default_factory=dict)
    """Folders of runs that the job names as earlier jobs."""
    lengthen: bool = False
    """Go on where a shorter run in the output folder ended."""
    started: float = field(default_factory=time.time)
    """When the command began, in seconds since the epoch."""


def run(request: RunRequest, machine: Machine | None = None, trainer: Sequence[str] = TRAINER_COMMAND) -> int:
    """Run the job and return the exit code; BadInputError for the user's mistakes, OutputBusyError for a second writer.

    KeyboardInterrupt when a signal came while no trainer ran.
    """
    with Interrupts() as interrupts:
        folders, machine = Folders(request.output.absolute()), machine or Machine.here()
        job = read_job_file(request.job_file)
        local_run = plan_local_run(job, folders, request.claims, machine, request.jobs)
        local_run = local_run.lengthening() if request.lengthen else local_run
        if folders.output.exists() and not folders.output.is_dir():
            problem = f"{folders.output} is not a folder"
            raise BadInputError([InputError("--output", problem, "give a folder; it is made where it is missing")])
        screen = open_screen()
        with contextlib.closing(screen), surroundings(folders.output) as place, locked(folders) as lock:
            try:
                if settle(folders):
                    screen.say(f"restored the run in {folders.output}: the start that was to replace it was interrupted")
                refuse_foreign_files(folders)
                if request.overwrite:
                    if set_aside(folders):
                        screen.say(f"replacing the run in {folders.output}; it is removed once the new input has been checked")
                elif previous_run_finished(folders, local_run.config):
                    ablations, results = local_run.config.evaluation.ablations or [], ResultsFolder(folders.output)
                    missing = missing_results(results, local_run.config.exports, to_compare=bool(ablations))
                    control = missing_ablations(results, ablations)
                    if not missing and not control:
                        return _leave_alone(request, job, folders, machine, trainer, screen, place)
                    if missing:
                        lacking = f"{folders.output} holds this finished run without {' and '.join(missing)}"
                        screen.say(f"{lacking}; making them from its checkpoints, without training")
                    if control:
                        screen.say(f"{folders.output} holds this finished run; its control runs are trained: {', '.join(control)}")
                warnings = [f"warning: {warning}" for warning in (*local_run.warnings, *place.warnings)]
                for line in (*local_run.notices, *warnings):
                    screen.say(line)
                status = begin(read_status(folders), job.name, datetime.now(UTC))
                number = status.attempts[-1].number if status.attempts else 1
                prepare(folders, local_run.as_attempt(number, dashboard=request.dashboard))
                return _train(request, local_run.config, folders, screen, status, trainer, lock, place, interrupts)
            finally:
                if settle(folders):
                    screen.say(f"the run in {folders.output} was left as it was")


def _leave_alone(request: RunRequest, job: JobFile, folders: Folders, machine: Machine, trainer: Sequence[str], screen: Screen,
                 place: Surroundings) -> int:  # fmt: skip
    """Say that the run is finished, once the trainer has compared its rows and weights with those of today."""
    screen.say(f"{folders.output} holds this finished run; comparing its rows and weights with the current ones")
    found: list[str] = []
    with tempfile.TemporaryDirectory(prefix="finetune-check-", dir=place.folder) as aside:
        again = plan_local_run(job, Folders(folders.output, Path(aside)), request.claims, machine, request.jobs)
        outcome = ask_trainer(again, Folders(folders.output, Path(aside)), trainer, place, say=found.append)
    if outcome.result is not Result.SUCCEEDED:
        _say_all(found, screen)
        screen.say(f"failed ({outcome.reason}): {outcome.message}")
        return EXIT_FAILURE
    if request.timings:
        _say_all(budget(read_report(ResultsFolder(folders.output))), screen)
    screen.say(f"{folders.output} holds this finished run; nothing was changed; --overwrite trains again")
    return EXIT_SUCCESS


def _train(request: RunRequest, config: TrainConfig, folders: Folders, screen: Screen, status: FineTuneJobStatus, trainer: Sequence[str],
           lock: int, place: Surroundings, interrupts: Interrupts) -> int:  # fmt: skip
    follower = Follower(folders, screen, status, place.environment)
    with folders.log.open("ab") as log:
        log_start = log.tell()
        command = [*trainer, "--config", str(folders.config)]
        with interrupts.held():
            data = folders.output / DATA
            process = TrainerProcess(command, log, place, terminal=isinstance(screen, BarScreen), keep_open=[lock], data=data,
                                     started=request.started)  # fmt: skip
            interrupts.pass_to(process)
        tail = LogTail(folders.log, log_start)
        while (lines := process.lines(POLL_SECONDS)) is not None:
            interrupts.report(screen)
            _pass_on(lines, screen, log)
            if request.verbose:
                _say_all(tail.new_lines(), screen)
            follower.poll()
            discard_once_replaced(folders)
        exit_code = process.wait()
    if request.verbose:  # what was logged between the last look and the end
        _say_all(tail.new_lines(ended=True), screen)
    remove_starts(data)
    ended = follower.conclude(exit_code, stopped=interrupts.received > 0)
    screen.close()
    if request.timings:
        report = read_report(ResultsFolder(folders.output)) if ended.outcome.result is Result.SUCCEEDED else None
        _say_all(budget(report, time.time() - request.started), screen)
    output, replaces = str(request.output), waits_for_its_place(folders)
    again = run_command_line(request.job_file, output, request.claims, request.jobs, overwrite=replaces, lengthen=request.lengthen)
    using = using_command_lines(request.job_file, output, request.claims, config, request.jobs)
    report_end(ended, folders, tail, Commands(again, using), screen)
    return EXIT_CODES.get(ended.outcome.result, EXIT_FAILURE)


def _say_all(lines: Iterable[str], screen: Screen) -> None:
    for line in lines:
        screen.say(line)


def _pass_on(lines: Iterator[str], screen: Screen, log: IO[bytes]) -> None:
    """Show the trainer's own lines, and put into the log what Ray forwards from its workers."""
    for line in lines:
        if not WORKER_LOG_LINE.match(line):
            screen.say(line)
            continue
        with contextlib.suppress(OSError):  # a full disk is the trainer's to report
            log.write(line.encode(errors="backslashreplace") + b"\n")
            log.flush()
