"""How long to wait before the next look at what no watch reports."""

from datetime import timedelta

import pytest

from controller.job.pauses import growing

FIRST, LONGEST = timedelta(seconds=5), timedelta(seconds=60)


@pytest.mark.parametrize(
    ("age", "pause"), [(0, 5), (50, 5), (100, 10), (600, 60), (86400, 60)], ids=["new", "young", "older", "old", "of yesterday"]
)
def test_the_longer_something_takes_the_less_often_it_is_checked_within_bounds(age: int, pause: int) -> None:
    assert growing(timedelta(seconds=age), FIRST, LONGEST) == timedelta(seconds=pause)


def test_a_clock_that_went_back_means_the_shortest_pause() -> None:
    assert growing(timedelta(seconds=-600), FIRST, LONGEST) == FIRST
