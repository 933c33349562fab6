"""Looks at the first rows of a data file, to name its columns in a job: the trainer, which reads files in full, is not needed.

Standard library only, so Parquet and files packed with zstd are not opened. Tests: tests/finetune/cli/test_datafile.py.
"""

import bz2
import csv
import gzip
import json
import lzma
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from finetune.api.columns import COMPLETION_NAMES, PROMPT_NAMES
from finetune.api.errors import BadInputError, InputError
from finetune.api.formats import ENDINGS, known_format
from finetune.api.sources import DataFormat
from finetune.system.tables import find_delimiter, parsed

SAMPLE_LINES = 200
SAMPLE_CHARACTERS, LARGEST_SAMPLE_CHARACTERS = 2**20, 2**24
"""Of JSON, where a row, or all rows, may be one line of any length: as much as needed to see a whole row, within a second."""
NUMBER = re.compile(r"\s*[-+]?[\d.,]+([eE][-+]?\d+)?%?\s*")
UNPACKERS: tuple[tuple[bytes, Callable[..., Any]], ...] = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))
MESSAGE_KEYS = ({"role", "content"}, {"from", "value"})
DECODER = json.JSONDecoder()
ZSTD = b"\x28\xb5\x2f\xfd"
UNKNOWN_FILE = ("its name does not say its format", f"save the rows as CSV or JSONL ({', '.join(ENDINGS)})")
A_JOB = ("is a job, not data", "give the file that holds the rows; finetune check reads a job")
A_SPREADSHEET = ("is a spreadsheet", "export the sheet as CSV")
OTHER_FILES = {".yaml": A_JOB, ".yml": A_JOB, ".xlsx": A_SPREADSHEET, ".xls": A_SPREADSHEET, ".ods": A_SPREADSHEET}


@dataclass(frozen=True)
class FirstRows:
    """What the first rows of a file hold. Without rows, as of Parquet, nothing is known of its columns."""

    format: DataFormat
    rows: tuple[dict[str, Any], ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of all columns, in the order of the file."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def texts(self) -> list[str]:
        """Names of the columns that hold words, not only numbers."""
        return [name for name in self.names if any(is_words(row.get(name)) for row in self.rows)]

    def lists_of_objects(self) -> list[str]:
        """Names of the columns that hold lists of objects."""
        return [name for name in self.names if any(_objects_in(row.get(name)) for row in self.rows)]

    def conversations(self) -> list[str]:
        """Names of the columns that hold messages, as {role, content} or {from, value}."""
        found = {name: [item for row in self.rows for item in _objects_in(row.get(name))] for name in self.names}
        return [name for name, items in found.items() if any(keys <= set(item) for item in items for keys in MESSAGE_KEYS)]

    def inside(self, name: str) -> "FirstRows":
        """Return the objects that a column holds, as rows."""
        return FirstRows(self.format, tuple(value for row in self.rows if isinstance(value := row.get(name), dict)))


def look_at(path: Path) -> FirstRows:
    """Return the first rows of the file at `path`; BadInputError where it is none that the trainer reads."""
    kind = known_format(path)
    try:
        if path.is_dir():
            raise BadInputError([InputError(str(path), "is a folder", "give one of its files")])
        if not path.exists():
            raise BadInputError([InputError(str(path), "there is no such file", "give the path of a file with your rows")])
        if kind is None:
            problem, fix = OTHER_FILES.get(path.suffix.lower(), UNKNOWN_FILE)
            raise BadInputError([InputError(str(path), problem, fix)])
        if kind is DataFormat.PARQUET or _head(path).startswith(ZSTD):
            return FirstRows(kind)
        with _opened(path) as file:
            if kind is DataFormat.TEXT:
                _refuse_blanks(path, file)
                return FirstRows(kind)
            rows = _table(path, file, kind) if kind in (DataFormat.CSV, DataFormat.TSV) else _objects(path, file)
    except UnicodeDecodeError:
        raise BadInputError([InputError(str(path), "is not UTF-8 text", "save the file as UTF-8")]) from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise BadInputError([InputError(str(path), f"cannot be read: {error}", "check the file and its permissions")]) from None
    if rows == []:
        raise BadInputError(
            [InputError(str(path), "has no rows", "write a table with the names of its columns first, or one JSON object per line")]
        )
    return FirstRows(kind, tuple(rows or ()))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _opened(path: Path) -> TextIO:
    """Open a file as text, unpacked. `newline` is left to the reader of tables: a quoted cell may hold line ends."""
    head = _head(path)
    unpack = next((opener for mark, opener in UNPACKERS if head.startswith(mark)), None)
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    if unpack is not None:
        stream: TextIO = unpack(path, "rt", encoding="utf-8-sig", newline="")
        return stream
    return path.open(encoding=encoding, newline="")


def _table(path: Path, file: TextIO, kind: DataFormat) -> list[dict[str, Any]]:
    csv.field_size_limit(2**31 - 1)
    lines = list(islice(file, SAMPLE_LINES))
    usual, known = ("\t" if kind is DataFormat.TSV else ","), {*PROMPT_NAMES, *COMPLETION_NAMES, "messages", "text"}
    header, *rows = parsed(lines, find_delimiter(lines, usual, known, complete=len(lines) < SAMPLE_LINES)) or [[]]
    names = [name.strip() or f"column {number}" for number, name in enumerate(header, 1)]
    if any(map(_is_sentence, names)):
        fix = "put a line with the names of the columns before it, such as prompt,completion"
        raise BadInputError([InputError(str(path), "its first line seems to be a row", fix)])
    return [dict(zip(names, cells, strict=False)) for cells in rows]


def _refuse_blanks(path: Path, file: TextIO) -> None:
    while text := file.read(SAMPLE_CHARACTERS):
        if text.strip():
            return
    raise BadInputError([InputError(str(path), "has no text", "write the texts to learn into it")])


def _objects(path: Path, file: TextIO) -> list[dict[str, Any]] | None:
    """Return the first rows of JSON lines, or of one array, or of the only array in a wrapper; None where the first is too long."""
    text = ""
    while len(text) < LARGEST_SAMPLE_CHARACTERS:
        added = file.read(max(SAMPLE_CHARACTERS, len(text)))
        text = (text + added).lstrip()
        values = _values(text, 0)
        rows = _wrapped_rows(text) or [row for row in values if isinstance(row, dict)]
        if values and all(isinstance(value, str) for value in values):
            fix = 'write each as an object, such as {"text": …}, or all as lines of a .txt file'
            raise BadInputError([InputError(str(path), "its items are texts, not objects", fix)])
        if rows or not added:
            return rows
    return _wrapped_rows_of_a_part(text) or None


def _values(text: str, position: int) -> list[Any]:
    """Return the values that follow each other, or are the items of an array, up to the first that is not whole."""
    found: list[Any] = []
    with suppress(ValueError, RecursionError):  # what is not JSON is reported when the file is read in full
        while len(found) < SAMPLE_LINES:
            value, position = DECODER.raw_decode(text, _next(text, position))
            found.append(value)
    return found


def _wrapped_rows(text: str) -> list[dict[str, Any]]:
    """Return the rows of a text that is one object: those of its only array of objects, or itself."""
    try:
        whole = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        return []
    return (_rows_in(whole) or [whole]) if whole else []


def _wrapped_rows_of_a_part(text: str) -> list[dict[str, Any]]:
    """Return the first rows of a wrapper whose end is not there; none of a text that is no object."""
    members: dict[str, Any] = {}
    if not text.startswith("{"):
        return []
    with suppress(ValueError, RecursionError):
        position = _next(text, 0, " \t\r\n{")
        while True:
            name, position = DECODER.raw_decode(text, position)
            if not isinstance(name, str):
                break
            position = _next(text, position, " \t\r\n:")
            members[name] = _values(text, position) if text.startswith("[", position) else None
            _, position = DECODER.raw_decode(text, position)
            position = _next(text, position)
    return _rows_in(members)


def _rows_in(members: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows in an object's only array of objects; none where it is a conversation, which makes the object a row."""
    lists = [items for value in members.values() if (items := _objects_in(value))]
    if len(lists) != 1 or any(keys <= set(lists[0][0]) for keys in MESSAGE_KEYS):
        return []
    return lists[0][:SAMPLE_LINES]


def _next(text: str, position: int, between: str = " \t\r\n,[") -> int:
    """Skip blanks and what is between values."""
    while position < len(text) and text[position] in between:
        position += 1
    return position


def is_words(value: Any) -> bool:
    """Return whether a value is text, and not only a number."""
    return isinstance(value, str) and bool(value.strip()) and not NUMBER.fullmatch(value)


def _objects_in(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list, as it is or as its JSON; nothing of any other value."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    return value if isinstance(value, list) and all(isinstance(item, dict) for item in value) else []


def _is_sentence(name: str) -> bool:
    return len(name.split()) > 3 or name.rstrip().endswith((".", "?", "!"))
