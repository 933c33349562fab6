"""The options of the commands that use a model: predict, chat and evaluate. Test: tests/finetune/cli/test_using.py."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetune.api.tasks import TaskName
from finetune.api.using import PREDICTED_TOKENS, SAID_TOKENS

MODEL_HELP = "a run's folder, the folder of a model or an adapter, or a name on the hub"


def add_predict(commands: Any, exit_codes: str) -> None:
    """Add `finetune predict`."""
    parser = commands.add_parser(
        "predict",
        help="answer a prompt, or the rows of a file, with a model",
        description="Answer a prompt, or the rows of a file, with the model of a run or any other.",
        epilog=exit_codes,
    )
    parser.add_argument("model", metavar="DIR", help=MODEL_HELP)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--prompt", metavar="TEXT", help="text to answer; the answer goes to standard output")
    asked.add_argument("--input", type=Path, metavar="FILE", help="rows to answer: CSV, TSV, JSON, JSON lines, Parquet or text")
    parser.add_argument("--with", action="append", default=[], metavar="COLUMN=TEXT", dest="beside",
                        help="another column beside --prompt, such as system=TEXT; repeatable")  # fmt: skip
    parser.add_argument("--column", action="append", default=[], metavar="ROLE=NAME", dest="columns",
                        help="column of FILE, such as prompt=question (default: as trained, or known by name); repeatable")  # fmt: skip
    parser.add_argument("--from", metavar="LANGUAGE", dest="from_language", help="language to translate from (default: as trained)")
    parser.add_argument("--to", metavar="LANGUAGE", dest="to_language", help="language to translate into (default: as trained)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON lines to write (default: standard output)")
    parser.add_argument("--base", action="store_true", help="answer with the base model too")
    parser.add_argument("--batch-size", type=_whole, default=8, metavar="N", help="rows answered at once (default: 8)")
    parser.add_argument("--beams", type=_whole, default=1, metavar="N", help="search for the likeliest answer with N beams (default: 1)")
    _add_common(parser, new_tokens=PREDICTED_TOKENS)


def add_chat(commands: Any, exit_codes: str) -> None:
    """Add `finetune chat`."""
    parser = commands.add_parser(
        "chat",
        help="talk to a model",
        description="Talk to the model of a run or any other. Ctrl-C stops an answer; /exit or Ctrl-D leaves.",
        epilog=exit_codes,
    )
    parser.add_argument("model", metavar="DIR", help=MODEL_HELP)
    parser.add_argument("--system", metavar="TEXT", help="system message to begin with")
    parser.add_argument("--base", action="store_true", help="talk to the base model instead")
    _add_common(parser, new_tokens=SAID_TOKENS)


def add_evaluate(commands: Any, exit_codes: str) -> argparse.ArgumentParser:
    """Add `finetune evaluate`; return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "evaluate",
        help="measure a model on the test rows of a job",
        description="Measure any model on the test rows of a job, as a run of the job does it at its end.",
        epilog=exit_codes,
    )
    parser.add_argument("--model", required=True, metavar="DIR", help=MODEL_HELP)
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file to write the figures to")
    parser.add_argument("--limit", type=_whole, metavar="N", help="measure the first N test rows only")
    parser.add_argument("--base", action="store_true", help="measure the base model too, and compare")
    _add_holding(parser)
    parser.set_defaults(task=None)  # the job's
    return parser


def add_compare(commands: Any, exit_codes: str) -> None:
    """Add `finetune compare`."""
    parser = commands.add_parser(
        "compare",
        help="show runs beside each other",
        description="Show runs beside each other: settings that differ, figures on the same test rows with paired differences to the first"
        " run, and their learning curves. Runs may still be under way.",
        epilog=exit_codes,
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="DIR", help="folder of a run, as given to `finetune run --output`")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the learning curves into FILE, which ends in .svg or .png")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")


def _add_common(parser: argparse.ArgumentParser, new_tokens: int) -> None:
    parser.add_argument("--max-new-tokens", type=_whole, metavar="N", help=f"tokens of an answer (default: {new_tokens})")
    parser.add_argument("--temperature", type=_number(0, None), default=0.0, metavar="T",
                        help="draw tokens at random, with probabilities that T flattens (default: 0, the likeliest token)")  # fmt: skip
    parser.add_argument(
        "--top-p", type=_number(0, 1, above=True), metavar="P", help="draw from the likeliest tokens of probability P together"
    )
    parser.add_argument("--top-k", type=_whole, metavar="K", help="draw from the K likeliest tokens")
    parser.add_argument("--seed", type=_number(0, None, of=int), default=0, metavar="N",
                        help="of what is drawn; the same seed and prompt give the same answer (default: 0)")  # fmt: skip
    parser.add_argument(
        "--task", choices=[name.value for name in TaskName], help="what to use the model for (default: what it was trained for)"
    )
    _add_holding(parser)


def _add_holding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base-model", type=Path, metavar="FOLDER", help="folder of the base model, if it was moved")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), help="type to compute in (default: 16 bits on a GPU)")


def _whole(text: str) -> int:
    value: int = _read(text, int)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _read(text: str, of: Callable[[str], Any]) -> Any:
    try:
        return of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a {'whole number' if of is int else 'number'}") from error


def _number(least: float, most: float | None, *, above: bool = False, of: Callable[[str], Any] = float) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        value = _read(text, of)
        if value < least or (above and value == least) or (most is not None and value > most) or value != value or value == float("inf"):
            limits = f"{'above' if above else 'at least'} {least:g}" + (f" and at most {most:g}" if most is not None else "")
            raise argparse.ArgumentTypeError(f"{text} is not {limits}")
        return value

    return number
