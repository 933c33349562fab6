"""What every reader of files gives: records, and the words in which a value is shown to the user."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Record:
    """One row as the source holds it. `place` is where in its file, such as `line 12`."""

    place: str
    values: dict[str, Any]
    file: str = ""
    """The file, where a source has several."""
    headed: bool = False
    """The names of the columns were read from a first line, which may be missing."""
    typed: bool = False
    """The file's columns have types, as those of Parquet: quotes do not make a number there a text."""
    unwrapped: str = ""
    """The list that held the row, where the file is one object around it."""

    @property
    def where(self) -> str:
        """Return file and place."""
        return f"{self.file} {self.place}".strip()


def shown(text: str) -> str:
    """Return the beginning of `text`, quoted, on one line, for a message."""
    line = " ".join(text.split())
    return repr(line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + "…")


def kind_of(value: Any) -> str:
    """Return what a value is, in words."""
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
