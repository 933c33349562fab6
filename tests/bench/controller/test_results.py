from bench.controller.atrest import Rest
from bench.controller.phases import Burst, Reports
from bench.controller.results import entries_of, entry, short_table_of, table_of

OURS = Burst([1.0, 2.0, 4.0], {"create rayjobs": 3, "patch finetunejobs/status": 6}, 0.045, 0.3, 100_000_000, 3)
THEIRS = Burst([2.0, 6.0, 8.0], {"create rayclusters": 3, "update rayjobs/status": 18}, 0.06, 0.6, 125_000_000, 3)
REPORTS = Reports(3, 60.0, 12, 12, 2, 0, 3.0, 110_000_000)
REST = Rest(5000, 12.0, 9.0, 60.0, {"list pods": 6}, 30, 0.6, 240_000_000, 200_000_000)
THEIR_REST = Rest(4000, None, 18.0, 60.0, {"get rayclusters": 60}, 0, 6.0, 480_000_000, 200_000_000)


def test_what_is_compared_is_how_many_times_as_good_ours_is() -> None:
    found = {each["name"]: each for each in entries_of(OURS, THEIRS, REPORTS, REST, THEIR_REST)}
    assert found["3 jobs at once: time to the child, p99"] == {
        "name": "3 jobs at once: time to the child, p99", "unit": "s", "ours": 4.0, "reference": 8.0, "ratio": 2.0,
    }  # fmt: skip
    assert found["3 jobs at once: API requests a job"]["ours"] == 3.0
    assert found["3 jobs at once: API requests a job"]["reference"] == 7.0
    assert found["3 jobs at once: processor time a job"]["ours"] == 15.0


def test_what_only_ours_does_has_no_reference() -> None:
    found = {each["name"]: each for each in entries_of(OURS, THEIRS, REPORTS, REST, THEIR_REST)}
    assert found["5,000 jobs at rest: caught up after a restart"] == {
        "name": "5,000 jobs at rest: caught up after a restart", "unit": "s", "ours": 12.0, "reference": None, "ratio": None,
    }  # fmt: skip
    assert found["3 running jobs: status writes"]["ours"] == 0.2


def test_at_rest_both_are_left_alone() -> None:
    found = {each["name"]: each for each in entries_of(OURS, THEIRS, REPORTS, REST, THEIR_REST)}
    assert found["5,000 jobs at rest: API requests"] == {
        "name": "5,000 jobs at rest: API requests", "unit": "1/s", "ours": 0.1, "reference": 1.0, "ratio": 10.0,
    }  # fmt: skip
    assert found["5,000 jobs at rest: share of a core"]["ours"] == 1.0
    assert found["5,000 jobs at rest: share of a core"]["ratio"] == 10.0
    assert found["5,000 jobs at rest: processor time to catch up"]["ratio"] == 2.0
    assert found["5,000 jobs at rest: peak memory"]["ratio"] == 2.0


def test_the_short_table_has_one_line_of_each_kind() -> None:
    table = short_table_of(entries_of(OURS, THEIRS, REPORTS, REST, THEIR_REST))
    assert "| 5,000 jobs at rest: API requests | 1/s | 0.10 | 1.00 | 10.00 |" in table
    assert "lease" not in table
    assert len(table.splitlines()) == 2 + 10


def test_nothing_is_divided_by_zero() -> None:
    assert entry("x", "s", 0.0, 3.0)["ratio"] is None


def test_the_table_has_a_line_for_each_entry() -> None:
    table = table_of([entry("a", "s", 2.0, 4.0), entry("b", "MB", 250.0)])
    assert table.splitlines()[2:] == ["| a | s | 2.00 | 4.00 | 2.00 |", "| b | MB | 250 |  |  |"]
