"""Turns the records of a source into the examples of a task, and counts what is left out or not read.

Tests: tests/trainer/preflight/test_columns.py.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, groupby, islice

from finetune.api.columns import Columns
from finetune.api.errors import InputError
from trainer.data.layout import SAMPLE_RECORDS, FirstRows, check_layout
from trainer.data.noticed import Noticed
from trainer.data.reading import Languages, Row
from trainer.data.records import Record
from trainer.data.rows import E, Skipped
from trainer.tasks.base import Task


def read_examples(
    field: str, records: Iterable[Record], task: Task[E], columns: Columns | None, name: str, noticed: Noticed,
    languages: Languages | None = None,
) -> Iterator[E]:  # fmt: skip
    """Yield the examples of one source; `noticed` collects its findings. `name` is the file or data set, for messages.

    Each file of a source has its own layout, chosen by its first rows. Raises InputError if no row is left.
    """
    given = columns or Columns()
    ignored, some = frozenset(given.ignore or ()), False
    for _, of_file in groupby(records, key=lambda record: record.file):
        head = list(islice(of_file, SAMPLE_RECORDS))
        first = FirstRows(head)
        layout = task.layout(field, given, first)
        check_layout(field, layout, first, name, task.column_advice)
        noticed.take_layout(layout)
        for record in chain(head, of_file):
            row = Row(field, name, record, layout, first, ignored, noticed, languages)
            example = task.read(row)
            if isinstance(example, Skipped):
                noticed.skip(record.where, example)
            else:
                noticed.take_row(record, row.read | ignored)
                some = True
                yield example
    if not some:
        raise InputError(field, noticed.nothing_left(name), "give at least one row with words in it")
