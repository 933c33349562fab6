"""The table of the controller's figures is that of the committed run, and each entry has the members that readers rely on."""

import json

from bench.controller import program
from bench.controller.results import caption, table_of

ENTRIES = json.loads(program.RESULTS.read_text())


def test_the_table_is_that_of_the_committed_run() -> None:
    table = program.DOCUMENT.read_text().partition(program.BEGIN)[2].partition(program.END)[0]
    surroundings = json.loads(program.SURROUNDINGS.read_text())
    assert table.strip() == (caption(surroundings) + table_of(ENTRIES)).strip()


def test_each_entry_names_what_was_measured() -> None:
    assert all(set(entry) == {"name", "unit", "ours", "reference", "ratio"} for entry in ENTRIES)
    assert all((entry["reference"] is None) == (entry["ratio"] is None) for entry in ENTRIES)
    names = [entry["name"] for entry in ENTRIES]
    assert len(names) == len(set(names)) >= 15
