"""Reads a file as records, by its format; every error names file and line, and how to correct it.

A record maps column names to the file's values; the task decides what a column must contain.
Tests: tests/trainer/data/test_formats.py.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune.api.errors import InputError
from finetune.api.sources import DataFormat
from trainer.data.files import check_file, format_of, unreadable
from trainer.data.jsonrows import read_json
from trainer.data.nested import Empty, unfolded
from trainer.data.records import Record
from trainer.data.streams import numbered_lines, numbered_parts, packing_of
from trainer.data.tables import read_table

TEXT_COLUMN = "text"
"""The single column of a text file."""
TABLES = {DataFormat.CSV: ",", DataFormat.TSV: "\t"}
"""The formats with a delimiter, and their usual one."""


def read_file(
    field: str, path: Path, wanted: DataFormat | None, columns: list[str] | None = None, delimiter: str | None = None,
    empty: Empty | None = None,
) -> Iterator[Record]:  # fmt: skip
    """Yield the records of a file; `field` is the source in the job file. Raises InputError for a file that cannot be read.

    `columns` are those that the job needs: binary columns of Parquet are skipped unless they are among them. What has no rows in it is
    counted in `empty`.
    """
    check_file(field, path)
    kind = wanted or format_of(field, path)
    if delimiter is not None and kind not in TABLES:
        fix = f"remove it, or give format: {DataFormat.CSV}"
        raise InputError(f"{field}.delimiter", f"has no meaning for {path.name}, which is read as {kind}", fix)
    try:
        if kind in TABLES:
            yield from read_table(field, path, numbered_lines(field, path), TABLES[kind], delimiter, columns or [])
        elif kind is DataFormat.TEXT:
            yield from _read_text(field, path)
        elif kind is DataFormat.PARQUET:
            yield from unfolded(field, _read_parquet(field, path, columns or []), empty)
        else:
            yield from unfolded(field, read_json(field, path, numbered_parts(field, path), columns or []), empty)
    except OSError as error:
        raise unreadable(field, path, error) from error


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


def _read_parquet(field: str, path: Path, columns: list[str]) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    packing = packing_of(path)
    if packing is not None:
        raise InputError(field, f"{path} is packed with {packing}", "unpack it; Parquet files are compressed internally")
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            chosen = [column.name for column in schema if column.name in columns or not _holds_bytes(column.type)]
            for batch in file.iter_batches(batch_size=1024, columns=None if len(chosen) == len(schema) else chosen):
                for values in batch.to_pylist():
                    number += 1
                    yield Record(f"row {number}", values, typed=True)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        said = (str(error).splitlines() or [type(error).__name__])[0]
        problem = f"{path} is not a valid Parquet file: {said}" + (f", after row {number}" if number else "")
        raise InputError(field, problem, "write it again, or give its actual format") from error


def _holds_bytes(kind: Any) -> bool:
    """Return whether a type is or contains binary data, such as images: it is large, and not text."""
    import pyarrow

    if pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind) or pyarrow.types.is_fixed_size_binary(kind):
        return True
    return any(_holds_bytes(kind.field(index).type) for index in range(kind.num_fields))
