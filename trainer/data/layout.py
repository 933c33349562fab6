"""Which columns of a source play which role: what is the same for every task. The task itself makes the choice.

If a required column is missing, the error lists the columns and suggests lines for the job file. Tests:
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

from finetune.api.columns import COMPLETION_NAMES, PROMPT_NAMES, Columns
from finetune.api.errors import InputError
from trainer.data.jsonobject import is_turn, is_turns_by_member
from trainer.data.records import Record

LOOKED_AT = 20
"""Items of a list that are examined: a column of embeddings has thousands of numbers in each row."""
SAMPLE_RECORDS = 50
"""First rows of a file that are examined: enough that one odd row does not decide the columns."""
METADATA = re.compile(
    r"^(.*[_\W])?(ids?|uuid|guid|idx|index|hash|sha\d*|md5|urls?|uri|link|source|src_file|dataset|origin|category|categories|lang|language|locale"
    r"|date|time|timestamp|created(_?at)?|updated(_?at)?|licen[sc]e|author|split|subset|tags?|meta|metadata|model|model_name|generator"
    r"|file|filename|file_name|version|score|rating|difficulty|quality|status)$",
    re.IGNORECASE,
)
"""Names of columns that are metadata about a row, provided that their values are short."""
SHORT_CHARACTERS = 40
PLAIN_NAME = re.compile(r"[A-Za-z_][\w.-]*")
YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
HEADER_FIX = "put a line with the names of the columns before it, such as prompt,completion"


@dataclass(frozen=True)
class Layout:
    """Which columns of one file play which role."""

    columns: Mapping[str, str]
    """The columns that every row must have, by role: a field of `columns`, such as prompt."""
    addition: str | None = None
    """Column that is appended to the prompt, in rows that have it."""
    guessed: bool = False
    """The names are neither given in the job nor the defaults."""

    def get(self, role: str) -> str | None:
        """Return the column of a role; None if rows need none."""
        return self.columns.get(role)


class FirstRows:
    """The first rows of a file, and what they show about its columns."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        shapes = Counter(tuple(map(str, record.values)) for record in records)
        self.names: list[str] = list(dict.fromkeys(name for shape, _ in shapes.most_common() for name in shape))
        """All column names, those of the most common set of columns first."""

    def values(self, name: str) -> list[Any]:
        """Return the values of a column, of the rows that have it."""
        return [record.values[name] for record in self.records if name in record.values]

    def holds_text(self, name: str, *, besides: Record | None = None) -> bool:
        """Return whether any row except `besides` has words in a column."""
        rows = [record for record in self.records if record is not besides]
        return any(isinstance(value := record.values.get(name), str) and value.strip() for record in rows)

    def length(self, name: str) -> int:
        """Return the total number of characters of a column's texts."""
        return sum(len(value) for value in self.values(name) if isinstance(value, str))

    def holds_objects(self, name: str) -> bool:
        """Return whether a row has a list of objects in a column, directly or as JSON."""
        return self.holds_turns(name) or any(
            isinstance(value, list) and any(isinstance(item, dict) for item in value) for value in self.values(name)
        )

    def holds_mappings(self, name: str) -> bool:
        """Return whether every row that has a column holds an object in it."""
        values = self.values(name)
        return bool(values) and all(isinstance(value, Mapping) for value in values)

    def inner_rows(self, wanted: str) -> str | None:
        """Return a list column whose items look like the intended rows: they have the column `wanted`, or a prompt and a completion."""
        for name in self.names:
            items = [value[0] for value in self.values(name) if isinstance(value, list) and value and isinstance(value[0], dict)]
            if any(wanted in item or all(set(item) & set(known) for known in (PROMPT_NAMES, COMPLETION_NAMES)) for item in items):
                return name
        return None

    def holds_turns(self, name: str) -> bool:
        """Return whether a row has a conversation in a column, directly or as JSON."""
        return any(
            (isinstance(value, list) and any(map(is_turn, value)))
            or is_turns_by_member(value)
            or (isinstance(value, str) and value.lstrip().startswith(("[{", "[ {")))
            for value in self.values(name)
        )


def is_metadata(name: str, lengths: Sequence[int]) -> bool:
    """Return whether a column only describes its rows, judging by its name and the lengths of its texts (see `text_length`)."""
    return METADATA.match(name) is not None and (not lengths or median(lengths) < SHORT_CHARACTERS)


def text_length(value: Any) -> int:
    """Return the length of the longest text in a value, in characters; a single word counts as 0, because URLs and hashes are long."""
    if isinstance(value, str):
        return len(value) if len(value.split()) > 1 else 0
    members = value.values() if isinstance(value, Mapping) else value[:LOOKED_AT] if isinstance(value, list) else ()
    return max(map(text_length, members), default=0)


def refuse_columns(field: str, columns: Columns, names: Sequence[str], reason: str) -> None:
    """Raise InputError if the job names one of the columns `names`, which have no meaning here because of `reason`."""
    for name in names:
        if getattr(columns, name) is not None:
            raise InputError(f"{field}.columns.{name}", f"has no meaning here: {reason}", "remove it, or change the task")


def check_layout(field: str, layout: Layout, first: FirstRows, name: str, advise: Callable[[Layout, str, FirstRows], str]) -> None:
    """Raise InputError if none of the first rows has a required column; `advise` returns the task's own fix."""
    for role, column in layout.columns.items():
        if column not in first.names:
            where = f"{name} {first.records[0].where}"
            has = ", ".join(name or '""' for name in first.names) or "none"
            problem = f"{column!r} is not a column of {where} (it has: {has})"
            raise InputError(f"{field}.columns.{role}", problem, _likely_fix(role, column, first) or advise(layout, column, first))


def _likely_fix(role: str, column: str, first: FirstRows) -> str | None:
    """Return the fix for a wrong delimiter, a missing header or a misspelled name; None if it is none of these."""
    names = first.names
    separator = re.search(r"[;\t|,:^~]", names[0]) if len(names) == 1 else None
    if separator is not None:
        return f"the file seems to use another delimiter: give delimiter: {json.dumps(separator[0])}"
    if first.records[0].headed and any(map(_is_sentence, names)):
        return f"the first line seems to be a row: {HEADER_FIX}"
    if close := difflib.get_close_matches(column, names, n=1) or [other for other in names if other.lower() == column.lower()]:
        return f"did you mean columns.{role}: {quoted(close[0])}?{_delimiter_advice(close[0]) if first.records[0].headed else ''}"
    return None


def _delimiter_advice(name: str) -> str:
    """Suggest another delimiter if a name contains one: the wrong one may have been detected."""
    other = re.search(r"[;\t|,]", name)
    return f" Or give delimiter: {json.dumps(other[0])}, if that separates the cells" if other else ""


def texts_of(first: FirstRows, needed: int) -> list[str]:
    """Return the columns that contain words; metadata columns are included only if there are fewer than `needed` others."""
    texts = [name for name in first.names if first.holds_text(name) and not first.holds_turns(name)]
    own = [name for name in texts if not is_metadata(name, [text_length(value) for value in first.values(name)])]
    return own if len(own) >= needed else texts


def quoted(name: str) -> str:
    """Return a name quoted for YAML if necessary."""
    plain = name == "…" or (PLAIN_NAME.fullmatch(name) and name.lower() not in YAML_WORDS)
    return name if plain else json.dumps(name, ensure_ascii=False)


def mapping(columns: Mapping[str, str]) -> str:
    """Return columns in the YAML form of a job file."""
    return "{" + ", ".join(f"{role}: {quoted(column)}" for role, column in columns.items()) + "}"


def _is_sentence(name: str) -> bool:
    return len(name.split()) > 3 or name.rstrip().endswith((".", "?", "!"))
