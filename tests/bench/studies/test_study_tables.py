"""The table of a study has each run's own figure, and differences that are paired by row and seed."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.studies.__main__ import outcome_of, run, table_of, to_wire
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


def test_the_interval_is_that_of_rows_and_each_seed_is_shown_beside_it() -> None:
    others = [outcome([True, False] * 500)] * 2
    ours = [outcome([True] * 1000), outcome([True, False] * 500)]
    found = mean_difference(ours, others)
    # The mean over the seeds of a row is 0 or 50 points, each for half of the rows: its standard error is 25 / sqrt(1000).
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 25 / 1000**0.5, rel=0.1)
    assert found.seeds_shown == "+50.0, +0.0"


def test_the_augmentation_table_ends_with_the_difference_from_the_first_row() -> None:
    better, worse = outcome([True] * 4), outcome([True, True, False, False])
    runs = [(Variant("none", "seed 1", {}), worse), (Variant("added", "seed 1", {}), better)]
    assert table_of("augmentation", runs).splitlines()[2:] == [
        "| none | 50.0 |  |  |",
        "| added | 100.0 | +50.0 [+0.0, +100.0] | +50.0 |",
    ]


def test_a_missing_cell_is_empty() -> None:
    lines = markdown("x", {"a": {"1": "p"}, "b": {"2": "q"}}).splitlines()
    assert lines == ["| x | 1 | 2 |", "| --- | --- | --- |", "| a | p |  |", "| b |  | q |"]


def test_a_report_of_another_job_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def finetune(command: list[str], **_: object) -> None:
        ran.append(command)
        output = Path(command[-1])
        output.mkdir(parents=True)
        (output / "report.json").write_text(json.dumps({"final": {"accuracy": {"value": 1.0}}, "training": {"seconds": 1}}))
        (output / "predictions.jsonl").write_text(json.dumps({"labels": ["a"], "tuned": ["a"]}))

    monkeypatch.setattr("subprocess.run", finetune)
    before, after = Variant("full", "1", {"training": {"epochs": 1}}), Variant("full", "1", {"training": {"epochs": 2}})
    for variant in (before, before, after):
        assert run(variant, tmp_path, "data=there").value == 100.0
    assert len(ran) == 2  # the second time its report was there; the third time it was another job
