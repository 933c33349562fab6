"""Which columns of a source hold what, as far as that is the same for every task; the choice itself is the task's.

Where a needed column is missing, the error lists the columns and proposes lines for the job file. Tests:
tests/trainer/data/test_layout.py.
"""

import difflib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from finetune.api.errors import InputError
from finetune.api.sources import COMPLETION_NAMES, PROMPT_NAMES, Columns
from trainer.data.jsonobject import is_turn, is_turns_by_member
from trainer.data.records import Record

LOOKED_AT = 20
"""Items of a list: a column of embeddings has thousands of numbers in each row."""
SAMPLE_RECORDS = 50
"""Rows of a file that are looked at: enough to tell its columns from one odd row."""
METADATA = re.compile(
    r"^(.*[_\W])?(ids?|uuid|guid|idx|index|hash|sha\d*|md5|urls?|uri|link|source|src_file|dataset|origin|category|categories|lang|language|locale"
    r"|date|time|timestamp|created(_?at)?|updated(_?at)?|licen[sc]e|author|split|subset|tags?|meta|metadata|model|model_name|generator"
    r"|file|filename|file_name|version|score|rating|difficulty|quality|status)$",
    re.IGNORECASE,
)
"""Names of columns that tell about a row and are no part of it, as long as what they hold is short."""
SHORT_CHARACTERS = 40
PLAIN_NAME = re.compile(r"[A-Za-z_][\w.-]*")
YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
HEADER_FIX = "put a line with the names of the columns before it, such as prompt,completion"


@dataclass(frozen=True)
class Layout:
    """Which columns of one file hold what."""

    columns: Mapping[str, str]
    """The columns that every row must have, by the field of `columns` that names them, such as prompt."""
    addition: str | None = None
    """Column that is written after the prompt, where a row has it."""
    guessed: bool = False
    """The names are neither given nor the defaults."""

    def get(self, role: str) -> str | None:
        """Return the column of a role, if rows must have one."""
        return self.columns.get(role)


class FirstRows:
    """What the first rows of a file show of its columns."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        shapes = Counter(tuple(map(str, record.values)) for record in records)
        self.names: list[str] = list(dict.fromkeys(name for shape, _ in shapes.most_common() for name in shape))
        """All names, those of the most common form of a row first."""

    def values(self, name: str) -> list[Any]:
        """Return what the rows hold in a column."""
        return [record.values[name] for record in self.records if name in record.values]

    def holds_text(self, name: str, *, besides: Record | None = None) -> bool:
        """Return whether a row, other than one, holds words in a column."""
        rows = [record for record in self.records if record is not besides]
        return any(isinstance(value := record.values.get(name), str) and value.strip() for record in rows)

    def length(self, name: str) -> int:
        """Return how many characters the rows hold in a column of texts."""
        return sum(len(value) for value in self.values(name) if isinstance(value, str))

    def holds_objects(self, name: str) -> bool:
        """Return whether a row holds a list of objects in a column, as it is or as its JSON."""
        return self.holds_turns(name) or any(
            isinstance(value, list) and any(isinstance(item, dict) for item in value) for value in self.values(name)
        )

    def inner_rows(self, wanted: str) -> str | None:
        """Return the column of a list whose items look like the rows that are meant: they have a wanted column, or a pair."""
        for name in self.names:
            items = [value[0] for value in self.values(name) if isinstance(value, list) and value and isinstance(value[0], dict)]
            if any(wanted in item or all(set(item) & set(known) for known in (PROMPT_NAMES, COMPLETION_NAMES)) for item in items):
                return name
        return None

    def holds_turns(self, name: str) -> bool:
        """Return whether a row holds a conversation in a column, as a list or as its JSON."""
        return any(
            (isinstance(value, list) and any(map(is_turn, value)))
            or is_turns_by_member(value)
            or (isinstance(value, str) and value.lstrip().startswith(("[{", "[ {")))
            for value in self.values(name)
        )


def tells_about(name: str, lengths: Sequence[int]) -> bool:
    """Return whether a column only tells about its rows, by its name and by how long its texts are, as `text_length` counts."""
    return METADATA.match(name) is not None and (not lengths or median(lengths) < SHORT_CHARACTERS)


def text_length(value: Any) -> int:
    """Return the characters of the longest text in a value; a single word counts as none, since addresses and hashes are long."""
    if isinstance(value, str):
        return len(value) if len(value.split()) > 1 else 0
    members = value.values() if isinstance(value, Mapping) else value[:LOOKED_AT] if isinstance(value, list) else ()
    return max(map(text_length, members), default=0)


def refuse_columns(field: str, columns: Columns, names: Sequence[str], reason: str) -> None:
    """Raise InputError where the job names a column that has no meaning, for `reason`."""
    for name in names:
        if getattr(columns, name) is not None:
            raise InputError(f"{field}.columns.{name}", f"has no meaning here: {reason}", "remove it, or change the task")


def check_layout(field: str, layout: Layout, first: FirstRows, name: str, advise: Callable[[Layout, str, FirstRows], str]) -> None:
    """Raise InputError where none of the first rows has a column that every row must have; `advise` is the task's own advice."""
    for role, column in layout.columns.items():
        if column not in first.names:
            where = f"{name} {first.records[0].where}"
            has = ", ".join(name or '""' for name in first.names) or "none"
            problem = f"{column!r} is not a column of {where} (it has: {has})"
            raise InputError(f"{field}.columns.{role}", problem, _likely_fix(role, column, first) or advise(layout, column, first))


def _likely_fix(role: str, column: str, first: FirstRows) -> str | None:
    """Return what to do about another delimiter, a missing header or a misspelt name; None where it is none of these."""
    names = first.names
    separator = re.search(r"[;\t|,:^~]", names[0]) if len(names) == 1 else None
    if separator is not None:
        return f"the file seems to separate its cells otherwise: give delimiter: {json.dumps(separator[0])}"
    if first.records[0].headed and any(map(_is_sentence, names)):
        return f"the first line seems to be a row: {HEADER_FIX}"
    if close := difflib.get_close_matches(column, names, n=1) or [other for other in names if other.lower() == column.lower()]:
        return f"did you mean columns.{role}: {quoted(close[0])}?{_delimiter_advice(close[0]) if first.records[0].headed else ''}"
    return None


def _delimiter_advice(name: str) -> str:
    """Say that a name may be several: where several characters could divide a table, the wrong one may have been taken."""
    other = re.search(r"[;\t|,]", name)
    return f" Or give delimiter: {json.dumps(other[0])}, if that separates the cells" if other else ""


def texts_of(first: FirstRows, needed: int) -> list[str]:
    """Return the columns that hold words; those that tell about the row are among them only where others are too few."""
    texts = [name for name in first.names if first.holds_text(name) and not first.holds_turns(name)]
    own = [name for name in texts if not tells_about(name, [text_length(value) for value in first.values(name)])]
    return own if len(own) >= needed else texts


def quoted(name: str) -> str:
    """Return a name as YAML takes it."""
    plain = name == "…" or (PLAIN_NAME.fullmatch(name) and name.lower() not in YAML_WORDS)
    return name if plain else json.dumps(name, ensure_ascii=False)


def mapping(columns: Mapping[str, str]) -> str:
    """Return columns as a job file names them."""
    return "{" + ", ".join(f"{role}: {quoted(column)}" for role, column in columns.items()) + "}"


def _is_sentence(name: str) -> bool:
    return len(name.split()) > 3 or name.rstrip().endswith((".", "?", "!"))
