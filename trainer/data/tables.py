"""Reads text tables (CSV and the like) as rows, with a header line and a delimiter that is given or detected.

Tests: tests/trainer/data/test_tables.py.
"""

import csv
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from finetune.api.columns import COMPLETION_NAMES, PROMPT_NAMES
from finetune.api.errors import InputError
from finetune.system.tables import find_delimiter, parsed
from trainer.data.records import Record

KNOWN_NAMES = (*PROMPT_NAMES, *COMPLETION_NAMES, "messages", "conversations", "text", "system")
SAMPLE_LINES = 200
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
SEPARATOR_LINE = re.compile(r"^\"?sep=(.)\"?$", re.IGNORECASE)
"""The first line of a file from Excel may name the delimiter."""


def read_table(
    field: str, path: Path, lines: Iterator[tuple[int, str]], usual: str, given: str | None, columns: Collection[str] = ()
) -> Iterator[Record]:
    """Yield the rows of a table. Its delimiter is `given`, else detected, else the `usual` one of its format.

    `columns` are those that the job needs. Raises InputError for a malformed table.
    """
    # Texts of any length are cells; the default limit is 128 KiB.
    csv.field_size_limit(2**31 - 1)
    # Lines keep their ends: a quoted cell may contain line breaks.
    text, skipped = (line + "\n" for _, line in lines), 0
    sample = list(islice(text, SAMPLE_LINES))
    if sample and sample[0].lstrip().startswith(('{"', "[{", "{'")):
        raise InputError(field, f"{path} begins with JSON instead of a header", "give format: jsonl")
    named = SEPARATOR_LINE.match(sample[0].strip("\n")) if sample else None
    if named:
        sample, skipped, given = sample[1:], 1, given or named[1]
    complete = len(sample) < SAMPLE_LINES
    delimiter = given or find_delimiter(sample, usual, {*KNOWN_NAMES, *columns}, complete=complete)
    # Tab-separated files are often written without quoting: a quote in a cell is then part of its text.
    plain = delimiter == "\t" and not _is_regular(sample, csv.QUOTE_MINIMAL, complete) and _is_regular(sample, csv.QUOTE_NONE, complete)
    yield from _rows(field, path, chain(sample, text), delimiter, skipped, csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL)


def _is_regular(sample: Sequence[str], quoting: Literal[0, 3], complete: bool) -> bool:
    """Return whether the first rows of a tab-separated table all have as many cells as its header."""
    widths: set[int] = set()
    try:
        widths.update(len(row) for row in csv.reader(sample, delimiter="\t", quoting=quoting, strict=True) if row)
    except csv.Error as error:
        # The last row may continue after the sample.
        return not complete and "unexpected end" in str(error)
    return len(widths) <= 1


def _rows(field: str, path: Path, lines: Iterable[str], delimiter: str, skipped: int, quoting: Literal[0, 3]) -> Iterator[Record]:
    source = iter(lines)
    start = skipped + 1
    head = list(islice(source, 1))
    spaced = delimiter != "\t" and _is_spaced(head, delimiter)
    reader = csv.reader(chain(head, source), delimiter=delimiter, quoting=quoting, strict=True, skipinitialspace=spaced)
    header: list[str] = []
    try:
        for cells in reader:
            if not cells:
                pass
            elif not header:
                header = _header(field, path, cells)
            elif len(cells) != len(header):
                raise _width_fault(field, path, start, cells, header, delimiter)
            else:
                yield Record(f"line {start}", dict(zip(header, cells, strict=True)), headed=True)
            start = skipped + reader.line_num + 1
    except csv.Error as error:
        problem = f"{path} is not a valid table in the row that begins at line {start}: {error}"
        if "new-line character" in str(error):
            raise InputError(field, problem, "lines end in a carriage return alone; save the file with line feeds") from error
        fix = "check its double quotes: they must enclose a whole cell, and one inside must be doubled"
        raise InputError(field, problem, fix) from error


def _is_spaced(head: Sequence[str], delimiter: str) -> bool:
    """Return whether the header has a space after each delimiter: then cells have one too, and it is not content.

    A delimiter followed by a space inside a quoted name does not count.
    """
    first = next(iter(parsed(head, delimiter)), [])
    return len(first) > 1 and all(cell.startswith(" ") for cell in first[1:])


def _header(field: str, path: Path, cells: Sequence[str]) -> list[str]:
    header = [cell.strip() or f"column {number}" for number, cell in enumerate(cells, start=1)]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(field, f"{path} has two columns named {twice[0]!r}", "rename one")
    return header


def _width_fault(field: str, path: Path, line: int, cells: Sequence[str], header: Sequence[str], delimiter: str) -> InputError:
    name = NAMES.get(delimiter, repr(delimiter))
    counted = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
    problem = f"{path} line {line} has {counted}, the header has {len(header)} ({', '.join(header)}); the delimiter is the {name}"
    if len(cells) < len(header):
        return InputError(field, problem, "add the missing cells, empty ones if necessary")
    return InputError(field, problem, f"put cells that hold a {name} or a line break in double quotes")
