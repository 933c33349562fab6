"""Turns what a user gives, a prompt or the rows of a file, into questions of the task that the model was trained for.

Rows are read as training reads them, but need no answers. Test: tests/trainer/using/test_asking.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from finetune.api.columns import Columns
from finetune.api.errors import InputError
from finetune.api.using import Predict
from trainer.data.files import check_file
from trainer.data.formats import read_file
from trainer.data.layout import SAMPLE_RECORDS, FirstRows, Layout
from trainer.data.noticed import Noticed
from trainer.data.reading import Languages, Row
from trainer.data.records import Record
from trainer.data.rows import Skipped
from trainer.tasks.base import Request, Task

INPUT, PROMPT = "--input", "--prompt"


@dataclass(frozen=True)
class Asked:
    """One row: what it asks, or why it is left out."""

    request: Request | None
    left_out: str = ""


@dataclass(frozen=True)
class Reader:
    """Reads rows with the same columns. `lacking` are the columns of answers, which they do not have."""

    task: Task[Any]
    tokenizer: Any
    field: str
    name: str
    layout: Layout
    first: FirstRows
    ignored: frozenset[str]
    lacking: tuple[str, ...] = ()
    languages: Languages | None = None

    def ask(self, record: Record) -> Asked:
        """Return what a row asks; raises InputError for one that cannot be read."""
        values = {**dict.fromkeys(self.lacking), **record.values}
        row = Row(
            self.field, self.name, replace(record, values=self.task.answered(values, self.layout, self.languages)), self.layout,
            self.first, self.ignored, Noticed(), self.languages,
        )  # fmt: skip
        example = self.task.read(row)
        if isinstance(example, Skipped):
            return Asked(None, f"{example.column!r} is empty" if example.column else example.reason)
        if why := self.task.unlearned(example):
            return Asked(None, why)
        return Asked(self.task.ask(example, self.tokenizer))


def ask(task: Task[Any], tokenizer: Any, values: Mapping[str, Any], field: str = PROMPT) -> Asked:
    """Return what one row asks, given by the names of the task's columns, such as prompt."""
    record = Record("", dict(values))
    return reader_for(task, tokenizer, field, "it", [record], [Columns()]).ask(record)


def ask_text(task: Task[Any], tokenizer: Any, prompt: str, beside: Mapping[str, str], languages: Languages | None = None) -> Asked:
    """Return what a prompt asks: it is the first column of the task, `beside` holds the others."""
    record = Record("", {task.facts.columns[0]: prompt, **beside})
    return replace(reader_for(task, tokenizer, PROMPT, "it", [record], [Columns()]), languages=languages).ask(record)


def ask_rows(
    task: Task[Any], tokenizer: Any, path: Path, columns: Sequence[Columns], languages: Languages | None = None
) -> Iterator[Asked]:
    """Yield what each row of a file asks, in its order. The first of `columns` that fits the file is taken, else those known by name."""
    records = read_file(INPUT, path, None)
    head = list(islice(records, SAMPLE_RECORDS))
    if not head:
        raise InputError(INPUT, f"{path} has no rows", "give at least one")
    reader = replace(reader_for(task, tokenizer, INPUT, str(path), head, columns), languages=languages)
    for record in chain(head, records):
        yield reader.ask(record)


def reader_for(task: Task[Any], tokenizer: Any, field: str, name: str, head: Sequence[Record], candidates: Sequence[Columns]) -> Reader:
    """Return the reader of rows that begin with `head`; raises InputError if no candidate fits them."""
    names = FirstRows(head).names
    only = [Columns.model_validate({task.facts.columns[0]: names[0]})] if len(names) == 1 else []
    faults: list[tuple[str, str]] = []
    for given in [*candidates, *only]:
        layout, lacking = _layout(task, field, given, head)
        first = FirstRows([_with(record, lacking) for record in head])
        missing = [(role, column) for role, column in layout.columns.items() if column not in first.names]
        if not missing:
            return Reader(task, tokenizer, field, name, layout, first, frozenset(given.ignore or ()), lacking)
        faults += missing
    role, column = faults[0]
    fix = f"name the column with --column {role}=NAME" if field == INPUT else f"give it with --with {column}=TEXT"
    raise InputError(field, f"{name} has no {column!r} (it has: {', '.join(names) or 'nothing'})", fix)


def _layout(task: Task[Any], field: str, given: Columns, head: Sequence[Record]) -> tuple[Layout, tuple[str, ...]]:
    """Return the layout of rows, and the columns of answers that they lack; with these the others may be found by their names."""
    layout = task.layout(field, given, FirstRows(head))
    names = FirstRows(head).names
    lacking = tuple(column for role, column in layout.columns.items() if role in task.answers and column not in names)
    if not lacking:
        return layout, ()
    return task.layout(field, given, FirstRows([_with(record, lacking) for record in head])), lacking


def _with(record: Record, lacking: Sequence[str]) -> Record:
    return replace(record, values={**dict.fromkeys(lacking), **record.values}) if lacking else record


def languages_for(task: Task[Any], wanted: Languages | None, trained: Sequence[Languages] | None) -> Languages | None:
    """Return the languages to translate from and into: those that were asked for, else the only ones that were trained.

    Raises InputError where it is not clear, and where a task has no use for them.
    """
    if not task.facts.translates:
        if wanted is not None:
            raise InputError("--from", f"has no meaning for {task.facts.name}", "leave it out, with --to")
        return None
    if wanted is not None or not trained:
        return wanted
    if len(trained) > 1:
        pairs = ", ".join(f"--from {source} --to {target}" for source, target in trained)
        raise InputError("--from", "the model was trained for several pairs of languages", f"give one of {pairs}")
    return trained[0]


def check_paths(wanted: Predict) -> None:
    """Raise InputError, before anything is loaded, for an input that is not there and an output that is."""
    if wanted.input is not None:
        check_file(INPUT, wanted.input)
    if wanted.output is not None and wanted.output.exists():
        raise InputError("--output", f"{wanted.output} exists", "give another file, or remove it")
    if wanted.output is not None and not wanted.output.parent.is_dir():
        raise InputError("--output", f"there is no folder {wanted.output.parent}", "make it, or give another file")
