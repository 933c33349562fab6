import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.runtime.backoff import backoff_seconds


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0.5), (1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (60, 30.0)])
def test_the_delay_doubles_up_to_the_maximum(failures: int, seconds: float) -> None:
    assert backoff_seconds(failures, 0.5, 30.0, lambda: 0.5) == seconds


@given(failures=st.integers(0, 10**6), jitter=st.floats(0, 1))
def test_many_that_failed_together_come_back_spread_by_at_most_a_quarter(failures: int, jitter: float) -> None:
    middle = backoff_seconds(failures, 0.5, 30.0, lambda: 0.5)

    assert 0.75 * middle <= backoff_seconds(failures, 0.5, 30.0, lambda: jitter) <= 1.25 * middle
