"""The table of a study has each run's own figure, and differences that are paired by row and seed."""

import json

import numpy as np
import pytest

from bench.studies.__main__ import outcome_of, table_of, to_wire
from bench.studies.tables import Outcome, markdown, mean_difference
from bench.studies.variants import Variant


def outcome(right: list[bool]) -> Outcome:
    return Outcome(100 * sum(right) / len(right), None, right, 1.0)


def test_an_outcome_is_read_from_what_a_run_leaves() -> None:
    report = {"final": {"accuracy": {"value": 0.5, "interval": [0.2, 0.8]}}, "training": {"seconds": 3.5}}
    lines = [json.dumps({"labels": ["a"], "tuned": [tuned]}) for tuned in ("a", "b")]
    found = outcome_of(report, lines)
    assert found == Outcome(50.0, (20.0, 80.0), [True, False], 3.5)
    assert found.shown == "50.0 [20.0, 80.0]"
    assert to_wire(Variant("full", "100", {}), found)["testRows"] == 2


def test_a_difference_is_the_mean_over_rows_and_seeds() -> None:
    ours = [outcome([True, True, True, False]), outcome([True, True, False, False])]
    others = [outcome([True, False, False, False]), outcome([True, True, False, False])]
    found = mean_difference(ours, others)
    assert found.value == pytest.approx(25.0)  # 50 points with the one seed, none with the other
    assert found.of_seeds == pytest.approx((50.0, 0.0))
    assert found.low <= found.value <= found.high


def test_equal_runs_differ_by_nothing_and_their_interval_says_so() -> None:
    runs = [outcome([True, False] * 20)] * 3
    found = mean_difference(runs, runs)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_an_interval_covers_what_rows_of_the_same_kind_would_show() -> None:
    generator = np.random.default_rng(1)
    others = [outcome([False] * 2000)] * 3
    ours = [outcome(list(generator.random(2000) < 0.1)) for _ in range(3)]
    found = mean_difference(ours, others)
    assert found.low < 10.0 < found.high
    assert found.high - found.low < 5.0


def test_the_augmentation_table_ends_with_the_difference_from_the_first_row() -> None:
    better, worse = outcome([True] * 4), outcome([True, True, False, False])
    runs = [(Variant("none", "seed 1", {}), worse), (Variant("added", "seed 1", {}), better)]
    assert table_of("augmentation", runs).splitlines()[2:] == [
        "| none | 50.0 |  |",
        "| added | 100.0 | +50.0 [+0.0, +100.0] |",
    ]


def test_a_missing_cell_is_empty() -> None:
    lines = markdown("x", {"a": {"1": "p"}, "b": {"2": "q"}}).splitlines()
    assert lines == ["| x | 1 | 2 |", "| --- | --- | --- |", "| a | p |  |", "| b |  | q |"]
