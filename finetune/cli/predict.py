"""`finetune predict`: answers a prompt, or the rows of a file, with a model. Tests: tests/finetune/cli/test_using.py."""

import argparse
import os

from pydantic import ValidationError

from finetune.api.columns import Columns
from finetune.api.errors import BadInputError, InputError
from finetune.api.using import Predict
from finetune.cli.usingprogram import Start, chosen_model, decoding, pairs, use


def predict(options: argparse.Namespace, start: Start = os.execve) -> int:
    """Start the program that answers, in place of this one; BadInputError for the user's mistakes."""
    for option, given, needed in (("--with", options.beside, "prompt"), ("--column", options.columns, "input")):
        if given and getattr(options, needed) is None:
            raise BadInputError([InputError(option, f"has a meaning only beside --{needed}", "leave it out")])
    if (options.from_language is None) != (options.to_language is None):
        missing, given = ("--from", "--to") if options.from_language is None else ("--to", "--from")
        raise BadInputError([InputError(missing, f"is missing beside {given}", "give both languages, or none")])
    request = Predict(
        model=chosen_model(options),
        base=options.base,
        prompt=options.prompt,
        beside=pairs(options.beside, "--with", "COLUMN=TEXT"),
        input=options.input.absolute() if options.input else None,
        output=options.output.absolute() if options.output else None,
        columns=_columns(pairs(options.columns, "--column", "ROLE=NAME")),
        languages=(options.from_language, options.to_language) if options.from_language else None,
        decoding=decoding(options),
        max_new_tokens=options.max_new_tokens,
        batch_size=options.batch_size,
    )
    return use("predict", request, start)


def _columns(given: dict[str, str]) -> Columns | None:
    roles = [name for name in Columns.model_fields if name != "ignore"]
    unknown = next((role for role in given if role not in roles), None)
    if unknown is not None:
        raise BadInputError([InputError("--column", f"there is no role {unknown!r}", f"roles are {', '.join(roles)}")])
    try:
        return Columns.model_validate(given) if given else None
    except ValidationError as error:
        raise BadInputError([InputError("--column", str(error.errors()[0]["msg"]))]) from error
