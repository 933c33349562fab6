"""Access to the columns of one record, with errors that name source, row and column.

What every task needs to read a row; the task turns the columns into an example. Tests: tests/trainer/preflight/test_columns.py.
"""

import difflib
from typing import Any

from finetune.api.errors import InputError
from finetune.system.files import whole_letters
from trainer.data.advice import text_advice
from trainer.data.jsonrows import parse
from trainer.data.layout import FirstRows, Layout, quoted
from trainer.data.meaning import refuse_meaning
from trainer.data.noticed import Noticed
from trainer.data.records import Record, kind_of, shown
from trainer.data.rows import Skipped

Languages = tuple[str, str]
"""Those of a source of translations: what is read, and what is written."""


class Row:
    """One record and what is known about its source. Remembers which columns were read."""

    def __init__(
        self, field: str, name: str, record: Record, layout: Layout, first: FirstRows, ignored: frozenset[str], noticed: Noticed,
        languages: Languages | None = None,
    ) -> None:  # fmt: skip
        self.field, self.name, self.record, self.layout, self.first, self.ignored = field, name, record, layout, first, ignored
        self.noticed = noticed
        self.languages = languages
        self.origin = whole_letters(f"{field} {record.where}")
        self.read = set(layout.columns.values())
        """Columns of this row that were read."""

    def words(self, role: str) -> str | Skipped:
        """Return the text of a required column; a row with only white space there is skipped."""
        column = self.layout.columns[role]
        value = self.value(role)
        text = "" if value is None else self.text(role, repr(column), value)
        return text if text.strip() else Skipped(column)

    def optional(self, column: str) -> str | None:
        """Return the text of an optional column; None if it has only white space."""
        self.read.add(column)
        value = self.record.values.get(column)
        if value is not None and not isinstance(value, str):
            problem = f"{self.name} {self.record.where}: {column!r} is {kind_of(value)}, not a text: {shown(str(value))}"
            fix = text_advice(value, column, typed=self.record.typed, alone=True)
            raise InputError(self.field, problem, f"{fix}, or write columns: {{ignore: [{quoted(column)}]}}")
        text = "" if value is None else self.text("prompt", repr(column), value)
        return text if text.strip() else None

    def with_addition(self, prompt: str) -> str:
        """Return a prompt with the words of the column that belongs after it, such as the input of an instruction."""
        addition = self.layout.addition
        if addition is None or not (words := self.optional(addition)):
            return prompt
        self.noticed.used[addition, f"is written after {self.layout.get('prompt')!r}, with a blank line between,"] += 1
        return f"{prompt}\n\n{words}"

    def value(self, role: str) -> Any:
        """Return the value of a required column; raises InputError if the row lacks it."""
        column = self.layout.columns[role]
        values = self.record.values
        if column in values:
            return values[column]
        has = [str(name) for name in values]
        problem = f"{self.name} {self.record.where} has no {column!r} (it has: {', '.join(has) or 'nothing'})"
        close = difflib.get_close_matches(column, has, n=1, cutoff=0.75)
        fix = f"write {close[0]!r} as {column!r} in this row" if close else "write it as in the other rows, or leave the row out"
        raise InputError(self.field, problem, fix)

    def text(self, role: str, what: str, value: Any) -> str:
        """Return `value`, which must be valid text; raises InputError otherwise. `what` names it in the error."""
        if not isinstance(value, str):
            raise self.fault(role, f"{what} is {kind_of(value)}, not a text: {shown(str(value))}", self._text_fix(role, value))
        try:
            value.encode()
        except UnicodeEncodeError as error:
            problem = f"{what} holds half of a surrogate pair at character {error.start + 1}, which is not valid text"
            raise self.fault(role, problem, "write the whole character") from error
        return value

    def list_of(self, role: str, column: str, value: Any, fix: str) -> Any:
        """Decode a list stored as JSON, as in a table; return anything else unchanged. `role` is for the error."""
        if not isinstance(value, str) or not value.lstrip().startswith("["):
            return value
        try:
            return parse(value)
        except (ValueError, RecursionError) as error:
            raise self.fault(role, f"{column!r} is not valid JSON ({error}): {shown(value)}", fix) from error

    def is_free(self, column: str) -> bool:
        """Return whether a column neither has a role already nor is ignored."""
        return column not in self.ignored and column not in self.layout.columns.values() and column != self.layout.addition

    def refuse_meaning(self, *, answers: bool = False, messages: bool = False) -> None:
        """Raise InputError for a column that would change what is learned; `answers` and `messages` say what the row consists of."""
        refuse_meaning(self.record.values, self.is_free, self._meaning_fault, answers=answers, messages=messages)
        # A weight that passes is 1, which is what every row has.
        self.read.add("weight")

    def fault(self, role: str, problem: str, fix: str) -> InputError:
        """Return the error for the column of a role, with the location of the row."""
        return InputError(f"{self.field}.columns.{role}", f"{self.name} {self.record.where}: {problem}", fix)

    def _meaning_fault(self, column: str, problem: str, fix: str) -> InputError:
        problem = f"{self.name} {self.record.where}: {column!r} {problem}"
        return InputError(self.field, problem, f"{fix}; if the column means something else, write columns: {{ignore: [{column}]}}")

    def _text_fix(self, role: str, value: Any) -> str:
        column = self.layout.columns.get(role, role)
        alone = self.first.holds_text(column, besides=self.record)
        return text_advice(value, column, typed=self.record.typed, alone=alone)
