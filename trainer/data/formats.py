"""Reads a file as records: JSON lines, CSV, Parquet or plain text; every fault names file and line, and how to mend it.

A record is a mapping of column names to whatever the file holds there; what a column must hold is decided in columns.py.
Tests: tests/trainer/data/test_formats.py.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.config.errors import InputError
from trainer.config.sources import DataFormat, FileSource, Source

ENDINGS = {
    ".jsonl": DataFormat.JSONL,
    ".ndjson": DataFormat.JSONL,
    ".json": DataFormat.JSONL,
    ".csv": DataFormat.CSV,
    ".parquet": DataFormat.PARQUET,
    ".txt": DataFormat.TEXT,
    ".text": DataFormat.TEXT,
    ".md": DataFormat.TEXT,
}
TEXT_COLUMN = "text"
"""The only column of a text file."""
SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Record:
    """One row as the source holds it. `place` is where, such as `line 12`."""

    place: str
    values: dict[str, Any]


def read_file(field: str, path: Path, wanted: DataFormat | None, columns: list[str] | None = None) -> Iterator[Record]:
    """Yield the records of a file; `field` is the source in the job file. `columns` limits what is read, where that is cheaper."""
    check_file(field, path)
    kind = wanted or format_of(field, path)
    try:
        if kind is DataFormat.JSONL:
            yield from _read_jsonl(field, path)
        elif kind is DataFormat.CSV:
            yield from _read_csv(field, path)
        elif kind is DataFormat.TEXT:
            yield from _read_text(field, path)
        else:
            yield from _read_parquet(field, path, columns)
    except OSError as error:
        raise InputError(field, f"{path} cannot be read: {error.strerror or error}", "check its permissions") from error


def path_of(field: str, source: Source | FileSource) -> Path:
    """Return the file of a source; raises InputError for a claim or ConfigMap that nobody has resolved to a path."""
    if source.path is None:
        raise InputError(field, "does not lead to a file here", "claims and ConfigMaps are mounted by the controller or `finetune run`")
    return Path(source.path)


def check_file(field: str, path: Path) -> None:
    """Raise InputError unless `path` is a file."""
    if path.is_dir():
        files = sorted(entry.name for entry in path.iterdir() if entry.suffix in ENDINGS)[:5]
        fix = f"name one file in it, such as {', '.join(files)}" if files else "name a file"
        raise InputError(field, f"{path} is a folder", fix)
    if not path.exists():
        raise InputError(field, f"there is no file {path}", _neighbours(path))


def format_of(field: str, path: Path) -> DataFormat:
    """Return the format that the ending of a file's name says."""
    try:
        return ENDINGS[path.suffix.lower()]
    except KeyError:
        problem = f"the name {path.name} does not tell its format (known endings: {', '.join(ENDINGS)})"
        raise InputError(f"{field}.format", problem, f"give format: {', '.join(DataFormat)}") from None


def shown(text: str) -> str:
    """Return the beginning of `text`, quoted, on one line, for a message."""
    line = " ".join(text.split())
    return repr(line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + "…")


def _neighbours(path: Path) -> str:
    try:
        files = sorted(entry.name for entry in path.parent.iterdir() if entry.suffix in ENDINGS)[:5]
    except OSError:
        return f"there is no folder {path.parent} either"
    return f"the folder has: {', '.join(files)}" if files else "check the path"


def numbered_lines(field: str, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line without its end); only \\n and \\r\\n end a line, as JSON strings may hold other separators."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                problem = f"{path} line {number} is not UTF-8: byte 0x{line[error.start]:02x} at position {error.start + 1}"
                fix = "the file looks compressed; unpack it" if line[:2] == b"\x1f\x8b" else "save the file as UTF-8"
                raise InputError(field, problem, fix) from error
            yield number, text.rstrip("\r\n")


def _read_jsonl(field: str, path: Path) -> Iterator[Record]:
    for number, line in numbered_lines(field, path):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(field, f"{where} is not JSON ({_json_fault(error)}): {shown(line)}", _json_fix(number, line)) from error
        if not isinstance(value, dict):
            raise InputError(field, f"{where} is not a JSON object but {kind_of(value)}: {shown(line)}", _json_fix(number, line))
        yield Record(f"line {number}", value)


def _json_fault(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.colno}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _json_fix(number: int, line: str) -> str:
    if number == 1 and line.lstrip().startswith("["):
        return "the file looks like one JSON array; write one object per line instead"
    if number == 1 and line.strip() == "{":
        return "the object is spread over several lines; write one object per line instead"
    return 'write one object per line, such as {"prompt": "…", "completion": "…"}'


def kind_of(value: Any) -> str:
    """Return what a value read from JSON or Parquet is, in words."""
    words = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
        type(None): "null",
    }
    return words.get(type(value), f"a value of type {type(value).__name__}")


def _read_csv(field: str, path: Path) -> Iterator[Record]:
    # Texts of any length are cells; the default limit is 128 KiB.
    csv.field_size_limit(2**31 - 1)
    # Lines keep their ends: a quoted cell may hold some.
    reader = csv.reader((line + "\n" for _, line in numbered_lines(field, path)), strict=True)
    start = 1
    try:
        header = next(reader, [])
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise InputError(field, f"{path} has two columns named {twice[0]!r}", "rename one")
        start = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(header):
                problem = f"{path} line {start} has {len(cells)} cells, the header has {len(header)} ({', '.join(header)})"
                raise InputError(field, problem, "put cells that hold a comma or a line break in double quotes")
            if cells:
                yield Record(f"line {start}", dict(zip(header, cells, strict=True)))
            start = reader.line_num + 1
    except csv.Error as error:
        problem = f"{path} is not sound CSV in the row that begins at line {start}: {error}"
        raise InputError(field, problem, "check its double quotes; one inside a quoted cell is written twice") from error


def _read_text(field: str, path: Path) -> Iterator[Record]:
    paragraph: list[str] = []
    start = 1
    for number, line in numbered_lines(field, path):
        if line.strip():
            start = start if paragraph else number
            paragraph.append(line)
        elif paragraph:
            yield Record(f"line {start}", {TEXT_COLUMN: "\n".join(paragraph)})
            paragraph = []
    if paragraph:
        yield Record(f"line {start}", {TEXT_COLUMN: "\n".join(paragraph)})


def _read_parquet(field: str, path: Path, columns: list[str] | None) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            present = file.schema_arrow.names
            # All columns where one is missing, so that the message can list them.
            chosen = columns if columns and set(columns) <= set(present) else None
            number = 0
            for batch in file.iter_batches(batch_size=1024, columns=chosen):
                for values in batch.to_pylist():
                    number += 1
                    yield Record(f"row {number}", values)
    except pyarrow.ArrowException as error:
        problem = f"{path} is not a sound Parquet file: {str(error).splitlines()[0]}"
        raise InputError(field, problem, "write it anew, or say what it is with format") from error
