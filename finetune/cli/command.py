"""The command line of `finetune`: arguments, exit codes, and errors on stderr. Tests: tests/finetune/cli/test_command.py."""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from finetune.api.errors import BadInputError, InputError
from finetune.api.record import EXIT_FAILURE, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_SUCCESS
from finetune.api.tasks import TaskName
from finetune.cli.local.output import OutputBusyError
from finetune.cli.usage import add_chat, add_compare, add_evaluate, add_predict
from finetune.system.files import whole_letters

EXIT_CODES = "Exit codes: 0 success, 2 invalid input, 3 interrupted by the user, 1 any other error."
NEEDED_TO_EXPORT = ("torch", "transformers", "peft", "safetensors", "numpy", "rich", "psutil")
NEEDED_TO_USE = (*NEEDED_TO_EXPORT, "pyarrow", "gguf", "babel", "sentencepiece")
NEEDED_TO_TRAIN = (
    "ray", *NEEDED_TO_USE, "deepspeed", "datasets", "accelerate", "evaluate", "sacrebleu", "jiwer", "tensorboard", "matplotlib",
)  # fmt: skip
"""The packages of the extra `trainer`, except those that only a cluster needs."""
NEEDED_PACKAGES = {
    "run": NEEDED_TO_TRAIN, "check": NEEDED_TO_TRAIN, "export": NEEDED_TO_EXPORT, "predict": NEEDED_TO_USE, "chat": NEEDED_TO_USE,
    "evaluate": (*NEEDED_TO_USE, "evaluate", "sacrebleu", "jiwer"),
    "compare": ("numpy", "rich", "evaluate", "sacrebleu", "jiwer", "matplotlib"),
}  # fmt: skip


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run one `finetune` command and return its exit code; EXIT_CODES says which there are."""
    started = time.time()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = command_parser().parse_args(given)
    odd = next((text for text in [*given, os.getcwd()] if whole_letters(text) != text), None)
    if odd is not None:
        return _complain(f"{whole_letters(odd)!r}: this name is not in UTF-8; rename the file or folder", EXIT_INPUT)
    missing = [name for name in NEEDED_PACKAGES.get(options.command, ()) if importlib.util.find_spec(name) is None]
    if missing:
        return _complain(f"the trainer's packages are missing ({', '.join(missing)}); install finetune-operator[trainer]", EXIT_FAILURE)
    options.started = started
    try:
        return COMMANDS[options.command](options)
    except BadInputError as errors:
        return _complain(str(errors), EXIT_INPUT)
    except OutputBusyError as error:
        return _complain(str(error), EXIT_FAILURE)
    except KeyboardInterrupt:
        again = f"nothing was trained or removed; continue with: {shlex.join(['finetune', *given])}"
        return _complain(
            f"interrupted before the trainer was started; {again}" if options.command == "run" else "interrupted", EXIT_INTERRUPTED
        )
    except OSError as error:
        return _complain(
            f"{error.filename or 'the system'}: {error.strerror}; check that the folder can be written and has room", EXIT_FAILURE
        )


def _run(options: argparse.Namespace) -> int:
    from finetune.cli.local.run import RunRequest, run

    if options.overwrite and options.lengthen:
        raise BadInputError([InputError("--continue", "goes on with the run that --overwrite would remove", "leave one of them out")])
    claims, jobs = parse_claims(options.claim), parse_jobs(options.earlier)
    request = RunRequest(
        options.job, options.output, claims, options.overwrite, options.verbose, options.timings, options.dashboard, jobs,
        options.lengthen, options.started,
    )  # fmt: skip
    return run(request)


def _check(options: argparse.Namespace) -> int:
    from finetune.cli.check import check

    return check(options.job, parse_claims(options.claim), jobs=parse_jobs(options.earlier))


def _export(options: argparse.Namespace) -> int:
    from finetune.cli.export import ExportRequest, export

    forms = [name for name in ("adapter", "merged") if getattr(options, name)]
    return export(ExportRequest(options.run, tuple(forms), options.dtype, options.to, options.base, options.overwrite))


def _predict(options: argparse.Namespace) -> int:
    from finetune.cli.predict import predict

    return predict(options)


def _chat(options: argparse.Namespace) -> int:
    from finetune.cli.chat import chat

    return chat(options)


def _evaluate(options: argparse.Namespace) -> int:
    from finetune.cli.evaluate import evaluate

    return evaluate(options, parse_claims(options.claim), jobs=parse_jobs(options.earlier))


def _compare(options: argparse.Namespace) -> int:
    from finetune.cli.compare import compare

    return compare(options)


def _init(options: argparse.Namespace) -> int:
    from finetune.cli.init import init

    return init(options.data, options.output, options.model, options.task and TaskName(options.task))


def _explain(options: argparse.Namespace) -> int:
    from finetune.cli.explain import explain

    return explain(options.field, recursive=options.recursive)


def _prints(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Return a command whose lines are the last of its work: where nobody reads them any more, as with `| head`, it has succeeded."""

    def until_nobody_reads(options: argparse.Namespace) -> int:
        try:
            return command(options)
        except BrokenPipeError:
            return EXIT_SUCCESS

    return until_nobody_reads


# Each imports its module when it is called: run, check and export need packages that may be missing.
COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "init": _prints(_init),
    "check": _check,
    "run": _run,
    "export": _export,
    "predict": _predict,
    "chat": _chat,
    "evaluate": _evaluate,
    "compare": _compare,
    "explain": _prints(_explain),
}


def parse_claims(given: Sequence[str]) -> dict[str, Path]:
    """Turn `NAME=DIR` arguments into absolute folders; BadInputError where one is not of that form or no folder."""
    return _parse_folders(given, "claim")


def parse_jobs(given: Sequence[str]) -> dict[str, Path]:
    """Turn the `NAME=DIR` arguments of --job into absolute folders, as `parse_claims` does."""
    return _parse_folders(given, "job")


def _parse_folders(given: Sequence[str], what: str) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    option = f"--{what}"
    errors: list[InputError] = []
    for text in given:
        name, separator, folder = text.partition("=")
        path = Path(folder).expanduser().absolute()
        if not (name and separator and folder):
            errors.append(InputError(option, f"{text!r} is not of the form NAME=DIR", f"write {option} my-{what}=/folder"))
        elif name in folders:
            errors.append(InputError(option, f"{name} is given twice", f"give one folder for a {what}"))
        elif not path.is_dir():
            errors.append(InputError(option, f"{name}: there is no folder {path}", "give a folder that exists"))
        folders[name] = path
    if errors:
        raise BadInputError(errors)
    return folders


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands and their options."""
    parser = argparse.ArgumentParser(prog="finetune", description="Fine-tune language models on this machine.", epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"finetune {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_init(commands)
    check_parser = commands.add_parser(
        "check", help="check a job and its data without training", description="Check a job and all of its input without training."
    )
    run_parser = commands.add_parser("run", help="train, measure and write the model", description="Run the FineTuneJob in a file here.")
    evaluate_parser = add_evaluate(commands, EXIT_CODES)
    for command in (run_parser, check_parser, evaluate_parser):
        command.add_argument("job", type=Path, metavar="JOB.yaml", help="file with one FineTuneJob and the ConfigMaps that it reads")
        command.add_argument(
            "--claim", action="append", default=[], metavar="NAME=DIR", help="folder to read in place of a claim; repeatable"
        )
        command.add_argument(
            "--job", dest="earlier", action="append", default=[], metavar="NAME=DIR", help="folder of the run of an earlier job; repeatable"
        )
    run_parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for checkpoints, model and report")
    run_parser.add_argument("--overwrite", action="store_true", help="start over; replaces the run in DIR once the input has been checked")
    run_parser.add_argument(
        "--continue", dest="lengthen", action="store_true",
        help="go on with the run in DIR, which had fewer epochs or maxSteps, from its last checkpoint",
    )  # fmt: skip
    run_parser.add_argument("--verbose", action="store_true", help="also print the trainer's log, which is always in DIR/trainer.log")
    run_parser.add_argument("--timings", action="store_true", help="print how long each stage took; DIR/report.json has it too")
    run_parser.add_argument("--dashboard", action="store_true", help="start Ray's dashboard too, and print its address")
    add_chat(commands, EXIT_CODES)
    add_predict(commands, EXIT_CODES)
    add_compare(commands, EXIT_CODES)
    _add_export(commands)
    _add_explain(commands)
    return parser


def _add_init(commands: Any) -> None:
    parser = commands.add_parser(
        "init",
        help="write a first job for a data file",
        description="Write a job that fine-tunes on a local file. Task and columns are guessed from its first rows.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="CSV, TSV, JSON, JSON lines, Parquet or text file")
    parser.add_argument(
        "--output", type=Path, default=Path("job.yaml"), metavar="JOB.yaml", help="file to write, not one that exists (default: job.yaml)"
    )
    parser.add_argument("--model", metavar="NAME", help="model to fine-tune (default: a small one that suits the task)")
    parser.add_argument("--task", choices=[name.value for name in TaskName], help="what to learn (default: guessed)")


def _add_explain(commands: Any) -> None:
    parser = commands.add_parser(
        "explain",
        help="describe a field of a job",
        description="Print type, default, limits and meaning of a field of a job.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("field", nargs="?", default="", metavar="FIELD", help="such as training.learningRate (default: all of a job)")
    parser.add_argument("--recursive", action="store_true", help="list all fields below it, without descriptions")


def _add_export(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="write the model of a run again, from its checkpoints",
        description="Write the model of a run from its best checkpoint, or from the newest one where none was measured on validation rows."
        " The result is read back and compared with the checkpoint's model before it takes its place.",
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
    with contextlib.suppress(OSError):  # the terminal is gone; the exit code remains
        print(text, file=sys.stderr)
    return exit_code
