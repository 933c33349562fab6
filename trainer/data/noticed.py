"""Collects the findings about a source while it is read: rows left out, columns that were detected, used or not read.

Tests: tests/trainer/data/test_noticed.py.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.data.layout import LOOKED_AT, Layout, is_metadata, text_length
from trainer.data.records import Record
from trainer.data.rows import Skipped

MEASURED_ROWS = 1000
"""Rows whose text lengths are recorded: enough to judge whether a column has long texts."""


@dataclass(frozen=True)
class Remark:
    """A finding of a task that names things, such as keys, each with the number of rows that have it."""

    before: str = ""
    each: str = "{name} (in {rows})"
    after: str = ""

    def sentence(self, counts: Mapping[str, int], total: int) -> str:
        """Return the finding for the rows in which each thing was seen, of `total` rows."""
        parts = (self.each.format(name=repr(name), rows=_of(rows, total)) for name, rows in counts.items())
        return f"{self.before}{', '.join(parts)}{self.after}"


@dataclass
class Noticed:
    """Counts over the rows of a source."""

    count: int = 0
    """Rows that were left out because a column was empty."""
    first: str = ""
    columns: set[str] = field(default_factory=set)
    others: Counter[Skipped] = field(default_factory=Counter)
    """Rows that were left out for other reasons."""
    first_others: dict[Skipped, str] = field(default_factory=dict)
    remarks: dict[Remark, Counter[str]] = field(default_factory=dict)
    """What a task noticed: the rows that have each thing."""
    rows: int = 0
    guessed: dict[tuple[str, ...], None] = field(default_factory=dict)
    used: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Rows in which a column that the job does not name was used, by (column, how)."""
    unread: Counter[str] = field(default_factory=Counter)
    """Rows in which a column that is not read contains text."""
    lengths: dict[str, list[int]] = field(default_factory=dict)
    """Lengths of the texts of such a column in its first rows, in characters."""

    unwrapped: dict[str, set[str]] = field(default_factory=dict)
    """The files that are one object around a list of rows, by the name of the list."""

    def skip(self, place: str, skipped: Skipped) -> None:
        """Count a row that was left out; `place` is its location, shown if it is the first."""
        if skipped.column:
            self.count, self.first = self.count + 1, self.first or place
            self.columns.add(skipped.column)
        else:
            self.others[skipped] += 1
            self.first_others.setdefault(skipped, place)

    def remark(self, remark: Remark, names: Collection[str]) -> None:
        """Count a row that has something to remark; `names` are the things in it, each once."""
        if names:
            self.remarks.setdefault(remark, Counter()).update(sorted(names))

    def nothing_left(self, name: str) -> str:
        """Return the problem with the source `name` when no row of it is left."""
        if self.others:
            return f"no row of {name} {next(iter(self.others)).none_left}"
        return f"every row of {name} has an empty {_either(self.columns)}" if self.count else f"{name} has no rows"

    def take_layout(self, layout: Layout) -> None:
        """Note columns that were detected by their well-known names."""
        if layout.guessed:
            self.guessed[tuple(f"{column!r} as {role}" for role, column in layout.columns.items())] = None

    def take_row(self, record: Record, read: Collection[str]) -> None:
        """Count a row that is used, and its columns with text that is not read."""
        self.rows += 1
        if record.unwrapped:
            self.unwrapped.setdefault(record.unwrapped, set()).add(record.file)
        for name, value in record.values.items():
            if name not in read and _holds_text(value):
                self.unread[str(name)] += 1
                lengths = self.lengths.setdefault(str(name), [])
                if len(lengths) < MEASURED_ROWS:
                    lengths.append(text_length(value))

    def findings(self, source: str) -> list[str]:
        """Return the findings, one sentence each; `source` is the field, such as data.train[0]."""
        found = [f"{source}: the job names no columns; {' and '.join(columns)} are read" for columns in self.guessed]
        for name, files in self.unwrapped.items():
            which = "the file is one object" if len(files) == 1 else f"{len(files)} files are one object each"
            found.append(f"{source}: {which}; the items of its list {name!r} are read as the rows, and nothing else in it")
        for (column, how), used in self.used.items():
            found.append(f"{source}: {column!r} {how} in {_of(used, self.rows)}; columns.ignore: [{column}] leaves it out")
        if self.count:
            rows, verb = _left_out(self.count)
            found.append(f"{source}: {rows} an empty {_either(self.columns)} and {verb} left out (the first: {self.first})")
        for skipped, count in self.others.items():
            rows, verb = _left_out(count)
            found.append(f"{source}: {rows} {skipped.reason} and {verb} left out (the first: {self.first_others[skipped]})")
        found += (f"{source}: {remark.sentence(counts, self.rows)}" for remark, counts in self.remarks.items())
        for column, unread in self.unread.items():
            if is_metadata(column, self.lengths[column]):
                continue
            fix = "name it in columns if the model should see it, else in columns.ignore"
            found.append(f"{source}: {column!r} contains text in {_of(unread, self.rows)} and is not read; {fix}")
        return found


def _holds_text(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    if isinstance(value, Mapping):
        return any(_holds_text(member) for member in value.values())
    return isinstance(value, list) and any(_holds_text(item) for item in value[:LOOKED_AT])


def _either(names: Iterable[str]) -> str:
    return " or ".join(repr(name) for name in sorted(names))


def _left_out(rows: int) -> tuple[str, str]:
    return ("1 row has", "is") if rows == 1 else (f"{rows} rows have", "are")


def _of(rows: int, total: int) -> str:
    return f"{rows} of {total} {'row' if total == 1 else 'rows'}"
