"""`finetune evaluate`: measures any model on the test rows of a job. Tests: tests/finetune/cli/test_evaluate.py."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from finetune.api.errors import BadInputError, InputError
from finetune.api.record import EXIT_INTERRUPTED, EXIT_SUCCESS
from finetune.api.using import Evaluate
from finetune.cli.jobfile.reading import read_job_file
from finetune.cli.local.configuration import Folders, plan_local_run, prepare
from finetune.cli.local.interrupts import Interrupts
from finetune.cli.local.machine import Machine
from finetune.cli.local.process import TrainerProcess
from finetune.cli.local.screen import PlainScreen
from finetune.cli.local.surroundings import surroundings
from finetune.cli.usingprogram import USING_COMMAND, chosen_model


def evaluate(
    options: argparse.Namespace, claims: Mapping[str, Path], machine: Machine | None = None, command: Sequence[str] = USING_COMMAND,
    jobs: Mapping[str, Path] = MappingProxyType({}),
) -> int:  # fmt: skip
    """Measure and return the exit code; BadInputError for the user's mistakes."""
    output = options.output.absolute() if options.output else None
    if output is not None and not output.parent.is_dir():
        raise BadInputError([InputError("--output", f"there is no folder {output.parent}", "make it, or give another file")])
    model = chosen_model(options, "--model")
    screen, complaints = PlainScreen(sys.stdout), PlainScreen(sys.stderr)
    with Interrupts() as interrupts, surroundings() as place:
        job = read_job_file(options.job)
        folders = Folders(place.folder / "evaluate" / "output", place.folder / "evaluate")
        local_run = plan_local_run(job, folders, claims, machine or Machine.here(), jobs)
        prepare(folders, local_run)
        for warning in place.warnings:
            complaints.say(f"warning: {warning}")
        request = Evaluate(model=model, base=options.base, job=local_run.config, output=output, limit=options.limit)
        arguments = [*command, "evaluate", request.model_dump_json(by_alias=True, exclude_none=True)]
        with interrupts.held():
            process = TrainerProcess(arguments, sys.stderr.buffer, place, terminal=sys.stdout.isatty())
            interrupts.pass_to(process)
        while (lines := process.lines(1.0)) is not None:
            for line in lines:
                screen.say(line)
        exit_code = process.wait()
    return EXIT_INTERRUPTED if interrupts.received and exit_code != EXIT_SUCCESS else exit_code
