"""`finetune compare`: shows what runs have left, beside each other. Tests: tests/finetune/cli/test_compare.py."""

import argparse
import os
from pathlib import Path

from finetune.api.errors import BadInputError, InputError
from finetune.api.using import Compare
from finetune.cli.usingprogram import Start, use

ENDINGS = (".svg", ".png")


def compare(options: argparse.Namespace, start: Start = os.execve) -> int:
    """Become the program that compares; BadInputError for the user's mistakes."""
    errors = [
        InputError("DIR", f"there is no folder {folder}", "name the folder that a run was written to")
        for folder in options.runs
        if not folder.is_dir()
    ]
    folders = [folder.absolute() for folder in options.runs]
    if len(set(folders)) < 2:
        errors.append(InputError("DIR", "one run alone is compared with nothing", "name the folders of two runs or more"))
    plot: Path | None = options.plot.absolute() if options.plot else None
    if plot is not None and plot.suffix not in ENDINGS:
        errors.append(InputError("--plot", f"{plot.name} does not say which picture", f"give a name that ends in {' or '.join(ENDINGS)}"))
    elif plot is not None and not plot.parent.is_dir():
        errors.append(InputError("--plot", f"there is no folder {plot.parent}", "make it, or give another file"))
    if errors:
        raise BadInputError(errors)
    return use("compare", Compare(folders=list(dict.fromkeys(folders)), plot=plot, as_json=options.json), start)
