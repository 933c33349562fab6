"""The table of the controller's figures is that of the committed run, and each entry has the members that readers rely on."""

import json

import pytest

from bench.controller import program
from bench.controller.results import caption, short_table_of, table_of

ENTRIES = json.loads(program.RESULTS.read_text())
OURS = {entry["name"]: entry for entry in ENTRIES}


def test_the_table_is_that_of_the_committed_run() -> None:
    table = program.DOCUMENT.read_text().partition(program.BEGIN)[2].partition(program.END)[0]
    surroundings = json.loads(program.SURROUNDINGS.read_text())
    assert table.strip() == (caption(surroundings) + table_of(ENTRIES)).strip()


def test_the_readme_has_the_short_table_of_the_committed_run() -> None:
    table = program.README.read_text().partition(program.BEGIN)[2].partition(program.END)[0]
    assert table.strip() == short_table_of(ENTRIES).strip()


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("1,000 jobs at once: API requests a job", 4),
        ("1,000 jobs at once: processor time a job", 15),
        ("1,000 jobs at once: peak memory", 250),
        ("5,000 jobs at rest: caught up after a restart", 15),
        ("5,000 jobs at rest: share of a core", 2),
        ("5,000 jobs at rest: peak memory", 250),
    ],
)
def test_the_committed_run_is_within_the_bounds_that_the_guarantees_name(name: str, most: float) -> None:
    assert OURS[name]["ours"] <= most


def test_the_committed_run_is_twice_as_fast_as_kuberay_and_asks_for_less_than_a_request_a_second_at_rest() -> None:
    assert OURS["1,000 jobs at once: time to the child, p99"]["ratio"] >= 2
    rest = [OURS[f"5,000 jobs at rest: API requests{what}"]["ours"] for what in ("", " for the lease")]
    assert sum(rest) < 1


def test_each_entry_names_what_was_measured() -> None:
    assert all(set(entry) == {"name", "unit", "ours", "reference", "ratio"} for entry in ENTRIES)
    assert all((entry["ratio"] is None) == (not entry["reference"] or not entry["ours"]) for entry in ENTRIES)
    names = [entry["name"] for entry in ENTRIES]
    assert len(names) == len(set(names)) >= 15
