"""Records, which every file reader yields, and how values are shown in messages. Tests: tests/trainer/data/test_formats.py."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Record:
    """One row as stored in the source. `place` is its location in the file, such as `line 12`."""

    place: str
    values: dict[str, Any]
    file: str = ""
    """The file, if the source has several."""
    headed: bool = False
    """The column names come from a header line, which may be missing: then they are those of the first row."""
    typed: bool = False
    """The file's columns have types, as in Parquet: adding quotes does not turn a number into text."""
    unwrapped: str = ""
    """The list that contained the row, if the file is one object around it."""

    @property
    def where(self) -> str:
        """File and place, for messages."""
        return f"{self.file} {self.place}".strip()


def shown(text: str) -> str:
    """Return the first `SHOWN_CHARACTERS` of `text`, quoted, on one line, for a message."""
    line = " ".join(text.split())
    return repr(line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + "…")


def kind_of(value: Any) -> str:
    """Describe the type of a value for a message, such as `a list`."""
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (str, "a text"),
        (bool, "true or false"),
        ((int, float, Decimal), "a number"),
        ((bytes, bytearray), "bytes"),
        ((datetime.date, datetime.time, datetime.timedelta), "a date or time"),
        (Mapping, "an object"),
        (Sequence, "a list"),
        (type(None), "null"),
    ]
    return next((words for kind, words in kinds if isinstance(value, kind)), f"a value of type {type(value).__name__}")
