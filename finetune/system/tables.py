"""Finds what separates the cells of a table of text, by its first lines.

The trainer reads tables with it and `finetune init` names their columns with it, so that both see the same ones.
Tests: tests/trainer/data/test_tables.py.
"""

import csv
from collections.abc import Collection, Sequence
from contextlib import suppress

DELIMITERS = (",", ";", "\t", "|")


def find_delimiter(sample: Sequence[str], usual: str, known: Collection[str], *, complete: bool) -> str:
    """Return the delimiter that divides the header and gives most of the first rows as many cells as it has.

    Commas in the cells of a file with semicolons do not mislead: they are not in the header, or not as often in each row.
    Of two that divide all rows alike, the one is taken that gives more `known` names of columns. Lines keep their ends.
    """
    best, best_fit = usual, (0.0, 0)
    for delimiter in sorted(DELIMITERS, key=lambda one: one != usual):
        rows = parsed(sample, delimiter)
        # The last row may continue after the sample.
        rows = rows if complete or len(rows) < 3 else rows[:-1]
        if not rows or len(rows[0]) < 2:
            continue
        share = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        fit = share, sum(name.strip() in known for name in rows[0])
        if fit > best_fit:
            best, best_fit = delimiter, fit
    return best


def parsed(sample: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the rows of some lines, up to the first that is not valid."""
    rows: list[list[str]] = []
    # An error is reported when the file is read; the rows before it are enough here.
    with suppress(csv.Error):
        rows.extend(row for row in csv.reader(sample, delimiter=delimiter) if row)
    return rows
