from dataclasses import replace
from typing import Any

import pytest

from bench.comparison import (
    OURS,
    DisagreementError,
    check_agreement,
    entries_of,
    figure,
    interleaved,
    ratio_of,
    regressions,
    table_of,
    unmeasured,
)
from bench.figures import Figures

RUN = Figures(
    name=OURS, steps=2, tokens_per_second=100.0, start_to_first_step_seconds=20.0, peak_memory_bytes=2 * 2**30, cpu_seconds=60.0,
    total_seconds=40.0, tokens=(50, 60), losses=(2.0, 1.5),
)  # fmt: skip
PEER = "peer"


def test_programs_follow_each_other_directly_in_every_repeat() -> None:
    assert list(interleaved(["x", "y"], ["A", "B"], 2)) == [
        (0, "x", "A"), (0, "x", "B"), (0, "y", "A"), (0, "y", "B"), (1, "x", "A"), (1, "x", "B"), (1, "y", "A"), (1, "y", "B"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "reference", "higher", "ratio"),
    [
        pytest.param(130, 100, True, 1.3, id="a higher rate is better"),
        pytest.param(10, 20, False, 2.0, id="a shorter time is better"),
        pytest.param(20, 10, False, 0.5, id="a longer time is worse"),
    ],
)
def test_a_ratio_above_one_says_that_ours_is_better(ours: float, reference: float, higher: bool, ratio: float) -> None:
    assert ratio_of(ours, reference, higher_is_better=higher) == pytest.approx(ratio)


def test_the_best_of_the_repeats_is_compared_and_the_median_stands_beside_it() -> None:
    slow = replace(RUN, tokens_per_second=80.0, start_to_first_step_seconds=30.0)
    between = replace(RUN, tokens_per_second=90.0, start_to_first_step_seconds=22.0)
    entries = {entry.name: entry for entry in entries_of("a job", {OURS: [slow, RUN, between], PEER: [replace(RUN, name=PEER)] * 3})}
    rate, start = entries["a job: tokens per second vs peer"], entries["a job: start to first step vs peer"]
    assert (rate.ours, rate.ours_median, rate.ratio, rate.repeats) == (100.0, 90.0, 1.0, 3)
    assert (start.ours, start.ours_median) == (20.0, 22.0)


def test_each_reference_has_an_entry_for_each_figure_with_the_agreed_fields() -> None:
    entries = [entry.to_wire() for entry in entries_of("a job", {OURS: [RUN], PEER: [RUN], "other": [RUN]})]
    assert len(entries) == 2 * 4
    assert {"name", "unit", "ours", "reference", "ratio", "repeats"} <= entries[0].keys()
    assert next(entry for entry in entries if "memory" in entry["name"])["ours"] == 2.0


def test_runs_with_other_tokens_cannot_be_compared() -> None:
    with pytest.raises(DisagreementError, match=r"tokens of each step differ: finetune run \(50, 60\), peer \(50, 61\)"):
        check_agreement([RUN, replace(RUN, name=PEER, tokens=(50, 61))])


@pytest.mark.parametrize(
    ("losses", "step"),
    [
        pytest.param((2.0, 1.4), None, id="dropout after the first step"),
        pytest.param((2.01, 1.5), 1, id="another first loss"),
        pytest.param((2.0, 1.7), 2, id="another course"),
    ],
)
def test_only_runs_with_the_same_losses_can_be_compared(losses: tuple[float, float], step: int | None) -> None:
    runs = [RUN, replace(RUN, name=PEER, losses=losses)]
    if step is None:
        check_agreement(runs)
        return
    with pytest.raises(DisagreementError, match=rf"losses of step {step} differ: finetune run {RUN.losses[step - 1]:.6f}, peer"):
        check_agreement(runs)


def entry(name: str, ratio: float) -> dict[str, Any]:
    return {"name": name, "ratio": ratio}


def test_only_a_ratio_that_fell_by_more_than_the_tolerance_is_a_regression() -> None:
    committed = [entry("rate", 1.0), entry("start", 2.0), entry("memory", 1.0)]
    new = [entry("rate", 0.91), entry("start", 1.79), entry("memory", 3.0), entry("never measured before", 0.1)]
    assert regressions(new, committed, tolerance=0.1) == ["start: ratio 1.790, committed 2.000"]


def test_committed_entries_of_the_measured_scenarios_that_are_missing_are_named() -> None:
    committed = [entry("a, b: rate vs x", 1.0), entry("a, b: rate vs y", 1.0), entry("other: rate vs y", 1.0)]
    assert unmeasured([entry("a, b: rate vs x", 0.1)], committed, ["a, b"]) == ["a, b: rate vs y: committed, but not measured"]


def test_the_table_has_a_line_for_each_figure_and_a_column_for_each_reference() -> None:
    entries = [each.to_wire() for each in entries_of("a job", {OURS: [RUN], PEER: [replace(RUN, tokens_per_second=50.0)]})]
    lines = table_of(entries).splitlines()
    assert lines[0] == "|  | unit | finetune run | peer |"
    assert lines[2] == "| a job: tokens per second | tokens/s | 100 | 50.0 (2.00) |"
    assert len(lines) == 2 + 4


def test_figures_are_written_with_the_digits_that_mean_something() -> None:
    assert [figure(value) for value in (12345.6, 45.67, 1.234)] == ["12,346", "45.7", "1.23"]
