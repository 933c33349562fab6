"""The next step is prepared while this one is used; faults come where the step is taken, and nothing waits for the thread in vain."""

import threading
from queue import SimpleQueue

import pytest

from trainer.training.ahead import Ahead


def ended(name: str = "batches") -> bool:
    return all(thread.name != name for thread in threading.enumerate())


def test_one_step_is_prepared_ahead_in_order_and_none_after_the_last() -> None:
    begun: SimpleQueue[int] = SimpleQueue()

    def prepare(step: int) -> int:
        begun.put(step)
        return 10 * step

    with Ahead(prepare, 5) as ahead:
        assert begun.empty(), "which step is the first is not known yet"
        assert ahead(2) == 20
        assert [begun.get(timeout=60) for _ in range(2)] == [2, 3], "the next is prepared although nobody has asked for it"
        assert (ahead(3), ahead(4)) == (30, 40)
    assert begun.get() == 4
    assert begun.empty()
    assert ended()


def test_the_next_step_is_prepared_in_another_thread_while_this_one_is_used() -> None:
    threads: SimpleQueue[int] = SimpleQueue()
    with Ahead(lambda _: threads.put(threading.get_ident()), 2) as ahead:
        ahead(0)
        assert {threads.get(timeout=60), threads.get(timeout=60)} == {next(t.ident for t in threading.enumerate() if t.name == "batches")}


def test_a_fault_is_raised_where_its_step_is_taken() -> None:
    def prepare(step: int) -> int:
        if step == 1:
            raise OSError("the disk is gone")
        return step

    with Ahead(prepare, 3) as ahead:
        assert ahead(0) == 0
        with pytest.raises(OSError, match="the disk is gone"):
            ahead(1)
    assert ended()


def test_training_that_stops_before_its_last_step_ends_the_thread() -> None:
    with Ahead(lambda step: step, 100) as ahead:
        ahead(0)
    assert ended()


def test_training_that_fails_does_not_wait_for_a_step_that_no_other_rank_prepares() -> None:
    other_rank = threading.Event()

    def prepare(step: int) -> int:
        if step == 1:
            other_rank.wait()
        return step

    ahead = Ahead(prepare, 3)
    with pytest.raises(ValueError, match="out of memory"), ahead:  # noqa: PT012 - it must fail inside
        ahead(0)
        raise ValueError("out of memory")
    assert not ended()
    other_rank.set()
    ahead._thread.join(60)
    assert ended()


def test_a_step_out_of_order_is_refused() -> None:
    with Ahead(lambda step: step, 9) as ahead:
        ahead(3)
        with pytest.raises(ValueError, match="step 7 was asked for, step 4 was prepared"):
            ahead(7)
