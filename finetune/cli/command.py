"""The command line of `finetune`: arguments, exit codes, and errors on stderr. Tests: tests/finetune/cli/test_command.py."""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.api.errors import InputError
from finetune.api.record import EXIT_FAILURE, EXIT_INPUT, EXIT_INTERRUPTED
from finetune.cli.jobfile.problems import BadInputError
from finetune.cli.local.output import OutputBusyError
from finetune.system.files import whole_letters

EXIT_CODES = "Exit codes: 0 good, 2 the input is at fault, 3 interrupted by the user, 1 anything else."
NEEDED_TO_EXPORT = ("torch", "transformers", "peft", "rich", "psutil")
NEEDED_TO_TRAIN = ("ray", *NEEDED_TO_EXPORT)


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run one `finetune` command and return its exit code; EXIT_CODES says which there are."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    odd = next((text for text in [*given, os.getcwd()] if whole_letters(text) != text), None)
    if odd is not None:
        return _complain(f"{whole_letters(odd)!r}: this name is not in UTF-8; rename the file or folder", EXIT_INPUT)
    needed = NEEDED_TO_EXPORT if options.command == "export" else NEEDED_TO_TRAIN
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        return _complain(f"the trainer's packages are missing ({', '.join(missing)}); install finetune-operator[trainer]", EXIT_FAILURE)
    # These need packages that may be missing.
    from finetune.cli.check import check
    from finetune.cli.export import ExportRequest, export
    from finetune.cli.local.run import RunRequest, run

    try:
        if options.command == "export":
            forms = [name for name in ("adapter", "merged") if getattr(options, name)]
            return export(ExportRequest(options.run, tuple(forms), options.dtype, options.to, options.base, options.overwrite))
        claims = parse_claims(options.claim)
        if options.command == "check":
            return check(options.job, claims)
        return run(RunRequest(options.job, options.output, claims, options.overwrite, options.verbose))
    except BadInputError as errors:
        return _complain(str(errors), EXIT_INPUT)
    except OutputBusyError as error:
        return _complain(str(error), EXIT_FAILURE)
    except KeyboardInterrupt:
        again = f"nothing was trained or removed; go on with: {shlex.join(['finetune', *given])}"
        return _complain(
            f"interrupted before the trainer was started; {again}" if options.command == "run" else "interrupted", EXIT_INTERRUPTED
        )
    except OSError as error:
        return _complain(
            f"{error.filename or 'the system'}: {error.strerror}; see that the folder can be written and has room", EXIT_FAILURE
        )


def parse_claims(given: Sequence[str]) -> dict[str, Path]:
    """Turn `NAME=DIR` arguments into absolute folders; BadInputError where one is not of that form or no folder."""
    claims: dict[str, Path] = {}
    errors: list[InputError] = []
    for text in given:
        name, separator, folder = text.partition("=")
        path = Path(folder).expanduser().absolute()
        if not (name and separator and folder):
            errors.append(InputError("--claim", f"{text!r} is not of the form NAME=DIR", "write --claim my-claim=/folder"))
        elif name in claims:
            errors.append(InputError("--claim", f"{name} is given twice", "give one folder for a claim"))
        elif not path.is_dir():
            errors.append(InputError("--claim", f"{name}: there is no folder {path}", "give a folder that exists"))
        claims[name] = path
    if errors:
        raise BadInputError(errors)
    return claims


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="finetune", description="Run a FineTuneJob on this machine.", epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"finetune {_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="train, measure and write the model", description="Run the FineTuneJob in a file here.")
    check_parser = commands.add_parser("check", help="tell what a run would find, without one", description="Check all input of a job.")
    for command in (run_parser, check_parser):
        command.add_argument("job", type=Path, metavar="JOB.yaml", help="file with one FineTuneJob and the ConfigMaps that it reads")
        command.add_argument(
            "--claim", action="append", default=[], metavar="NAME=DIR", help="folder that stands for a claim that the job reads; repeatable"
        )
    run_parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for checkpoints, model and report")
    run_parser.add_argument("--overwrite", action="store_true", help="begin anew; the run in DIR goes once the input has passed")
    run_parser.add_argument("--verbose", action="store_true", help="show the trainer's log too; it is always in DIR/trainer.log")
    _add_export(commands)
    return parser


def _add_export(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="write a run's model again, from its checkpoints, without training",
        description="Write the model of a run from its best checkpoint, or from the newest one where none was measured on validation rows."
        " What is written is read back and compared with the checkpoint's model before it takes its place.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("run", type=Path, metavar="DIR", help="folder of the run, as given to `finetune run --output`")
    parser.add_argument("--merged", action="store_true", help="write the whole model, which transformers loads without its base")
    parser.add_argument("--adapter", action="store_true", help="write the LoRA adapter, which peft loads beside its base")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), help="type of a whole model (default: as trained)")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="write FOLDER/merged and FOLDER/adapter (default: FOLDER is DIR/model)")
    parser.add_argument("--base", type=Path, metavar="FOLDER", help="folder of the base model, if it was moved")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in the same place")


def _version() -> str:
    try:
        return importlib.metadata.version("finetune-operator")
    except importlib.metadata.PackageNotFoundError:
        return "of a checkout that is not installed"


def _complain(text: str, exit_code: int) -> int:
    with contextlib.suppress(OSError):  # the terminal is gone; the exit code tells
        print(text, file=sys.stderr)
    return exit_code
