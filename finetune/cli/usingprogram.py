"""Starts the program that uses a model in place of this one: the terminal, signals and the exit code are then its own.

Tests: tests/finetune/cli/test_using.py.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.api.base import WireModel
from finetune.api.errors import BadInputError, InputError
from finetune.api.sources import MODEL_NAME
from finetune.api.tasks import TaskName
from finetune.api.using import ChosenModel, Decoding, WeightType
from finetune.system.interpreter import ROOT, lasting_python_path

USING_COMMAND = (sys.executable, "-P", "-m", "trainer.using")
Start = Callable[[str, list[str], dict[str, str]], Any]
"""Replaces this program, as os.execve does; for tests."""


def use(command: str, request: WireModel, start: Start = os.execve) -> int:
    """Become the program that does what the request says; it does not return."""
    sys.stdout.flush()
    sys.stderr.flush()
    arguments = [*USING_COMMAND, command, request.model_dump_json(by_alias=True, exclude_none=True)]
    start(sys.executable, arguments, environment(os.environ))
    return 0


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which our own packages are found, and nothing that the user's folder happens to hold."""
    path = os.pathsep.join([str(ROOT), *lasting_python_path(given)])
    return {**given, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"}


def chosen_model(options: argparse.Namespace, field: str = "DIR") -> ChosenModel:
    """Return the model that the options name; BadInputError for a folder that is not there."""
    path = Path(options.model).expanduser()
    # A name on the hub looks like a path; what lies in a folder that is there was meant as a path.
    is_path = path.exists() or not re.fullmatch(MODEL_NAME, options.model) or (str(path.parent) != "." and path.parent.is_dir())
    if is_path and not path.exists():
        raise BadInputError([InputError(field, f"there is no folder {path.absolute()}", "name the folder of a run or of a model")])
    return ChosenModel(
        name=str(path.absolute()) if is_path else options.model,
        field=field,
        task=TaskName(options.task) if options.task else None,
        base_model=options.base_model.absolute() if options.base_model else None,
        dtype=WeightType(options.dtype) if options.dtype else None,
    )


def decoding(options: argparse.Namespace) -> Decoding:
    """Return how tokens are chosen; BadInputError for options that exclude each other."""
    beams = getattr(options, "beams", 1)
    errors = []
    if beams > 1 and options.temperature > 0:
        errors.append(InputError("--beams", "search for the likeliest answer, and --temperature draws one", "leave one of them out"))
    for name, value in (("--top-p", options.top_p), ("--top-k", options.top_k)):
        if value is not None and options.temperature == 0:
            errors.append(InputError(name, "has no effect where the likeliest token is taken", "give --temperature too, such as 0.7"))
    if errors:
        raise BadInputError(errors)
    return Decoding(temperature=options.temperature, top_p=options.top_p, top_k=options.top_k, seed=options.seed, beams=beams)


def pairs(given: Sequence[str], option: str, form: str) -> dict[str, str]:
    """Turn NAME=VALUE arguments into a dictionary; BadInputError where one is not of that form."""
    found: dict[str, str] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not (name and separator and value):
            raise BadInputError([InputError(option, f"{text!r} is not of the form {form}", f"write {option} {form}")])
        if name in found:
            raise BadInputError([InputError(option, f"{name} is given twice", "give it once")])
        found[name] = value
    return found
