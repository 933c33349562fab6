"""Intervals are those of the rows' spread, the same every time, in bounded memory."""

import math
import tracemalloc

import numpy as np
import pytest

from trainer.evaluation import bootstrap
from trainer.evaluation.bootstrap import RESAMPLES, Interval, interval_of, p_value, resampled_sums

GENERATOR = np.random.default_rng(7)


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    rows = GENERATOR.normal(3, 2, 400)
    [sums] = resampled_sums([np.stack([rows, np.ones(400)], axis=1)])
    found = interval_of(sums[:, 0] / sums[:, 1])
    assert found is not None
    error = 1.96 * rows.std() / math.sqrt(400)
    ends = pytest.approx([rows.mean() - error, rows.mean() + error], abs=0.15 * error)
    assert [found.low, found.high] == ends


def test_all_tables_see_the_same_resamples_every_time() -> None:
    table = GENERATOR.random((50, 2))
    first, doubled = resampled_sums([table, 2 * table])
    assert np.allclose(2 * first, doubled, rtol=1e-12)
    assert np.array_equal(resampled_sums([table])[0], first)
    assert first.shape == (RESAMPLES, 2)
    assert len(np.unique(first[:, 0])) == RESAMPLES


def test_a_resample_has_as_many_rows_as_there_are() -> None:
    for rows in (1, 2, 37):
        [sums] = resampled_sums([np.ones((rows, 1), np.int8)])
        assert sums.tolist() == [[rows]] * RESAMPLES


def test_resamples_do_not_depend_on_how_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    table = GENERATOR.random((30, 3))
    [expected] = resampled_sums([table])
    monkeypatch.setattr(bootstrap, "DRAWN_AT_ONCE", 70)
    monkeypatch.setattr(bootstrap, "CELLS_AT_ONCE", 8)
    [found] = resampled_sums([table])
    assert np.allclose(found, expected, rtol=1e-12)


def test_many_rows_take_little_memory() -> None:
    table = np.ones((20_000, 100), np.int8)
    tracemalloc.start()
    try:
        resampled_sums([table])
        assert tracemalloc.get_traced_memory()[1] < 150 * 2**20, "all counts would be 160 MB, and the table in float64 16 MB for each block"
    finally:
        tracemalloc.stop()


def test_values_that_are_often_undefined_have_no_interval() -> None:
    values = np.linspace(0, 1, 1000)
    assert interval_of(values) == Interval(values[24], values[975])
    values[:40] = math.nan
    assert interval_of(values) is not None
    values[:60] = math.inf
    assert interval_of(values) is None
    assert p_value(values) is None


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        pytest.param(np.ones(999), 2 / 1000, id="always better"),
        pytest.param(-np.ones(999), 2 / 1000, id="always worse"),
        pytest.param(np.zeros(999), 1, id="always equal"),
        pytest.param(np.r_[-np.ones(24), np.ones(975)], 50 / 1000, id="in one of forty worse"),
    ],
)
def test_the_p_value_is_two_sided(differences: np.ndarray, expected: float) -> None:
    assert p_value(differences) == pytest.approx(expected)


@pytest.mark.parametrize("resamples", [951, 999, 1000])
@pytest.mark.parametrize("worse", [0, 1, 22, 23, 24, 25, 26, 400])
@pytest.mark.parametrize("sign", [1, -1], ids=["better", "worse"])
def test_interval_and_p_value_agree_whether_there_is_a_difference(resamples: int, worse: int, sign: int) -> None:
    differences = sign * np.r_[-np.ones(worse) / 7, np.ones(resamples - worse)]
    found, significance = interval_of(differences), p_value(differences)
    assert found is not None
    assert significance is not None
    assert (found.low <= 0 <= found.high) == (significance > 0.05)
