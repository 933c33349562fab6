"""One job at a time in a thread, whose end or error is seen once."""

import threading

import pytest

from trainer.storage.background import Background


def test_a_job_goes_on_beside_its_caller_and_is_seen_to_end_once() -> None:
    go, background = threading.Event(), Background()
    assert background.ended(None) is False
    background.begin(go.wait)
    assert background.ended() is False
    go.set()
    assert (background.ended(None), background.ended(None)) == (True, False)


def test_what_a_job_raises_is_raised_where_its_end_is_seen_and_the_next_one_begins_clean() -> None:
    background = Background()
    background.begin(lambda: [][0])
    with pytest.raises(IndexError):
        background.ended(None)
    background.begin(lambda: None)
    assert background.ended(None)


def test_a_second_job_is_refused_until_the_first_was_seen_to_end() -> None:
    background = Background()
    background.begin(lambda: None)
    with pytest.raises(RuntimeError, match="still under way"):
        background.begin(lambda: None)
    assert background.ended(None)
