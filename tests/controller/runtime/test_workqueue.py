import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller.runtime.workqueue import MAX_DELAY_SECONDS, STALE_MOST, KeySchedule, QueueClosed, WorkQueue
from tests.virtual_time import now, run_in_virtual_time

KEYS = st.sampled_from(["a", "b", "c", "d"])


class ScheduleMachine(RuleBasedStateMachine):
    """Compares the schedule with what is owed to each key: one look at or after every request for one."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = KeySchedule()
        self.now = 0.0
        self.owed: dict[str, float] = {}
        """When, at the latest, each key must be ready."""
        self.working: set[str] = set()

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.schedule.add(key)
        self.owed[key] = self.now

    @rule(key=KEYS, delay=st.floats(0, 100))
    def add_later(self, key: str, delay: float) -> None:
        self.schedule.add_at(key, self.now + delay)
        self.owed[key] = min(self.owed.get(key, float("inf")), self.now + delay)

    @rule(seconds=st.floats(0, 50))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        key = self.schedule.take(self.now)
        due = {each for each, when in self.owed.items() if when <= self.now} - self.working
        if key is None:
            assert not due
            return
        assert key in due
        assert key not in self.working
        del self.owed[key]
        self.working.add(key)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.schedule.done(key)
        self.working.discard(key)

    @invariant()
    def counts_agree(self) -> None:
        assert self.schedule.working == len(self.working)
        assert len(self.schedule) <= len(self.owed)

    def teardown(self) -> None:
        for key in sorted(self.working):
            self.schedule.done(key)
        served = set()
        while (key := self.schedule.take(float("inf"))) is not None:
            assert key not in served
            served.add(key)
        assert served == set(self.owed)


TestSchedule = ScheduleMachine.TestCase


def queue() -> WorkQueue:
    return WorkQueue(clock=now, jitter=lambda: 0.5)


def test_a_key_added_often_is_given_out_once() -> None:
    async def work() -> int:
        keys = queue()
        for _ in range(5):
            keys.add("a")
        await keys.take()
        return len(keys)

    assert run_in_virtual_time(work()) == 0


def test_a_key_added_while_it_is_worked_on_is_given_out_again_but_only_afterwards() -> None:
    async def work() -> None:
        keys = queue()
        keys.add("a")
        assert await keys.take() == "a"
        keys.add("a")
        second = asyncio.create_task(keys.take())
        await asyncio.sleep(10)
        assert not second.done()
        keys.done("a")
        assert await second == "a"

    run_in_virtual_time(work())


def test_a_delayed_key_comes_when_it_is_due_and_an_idle_worker_sleeps_until_then() -> None:
    async def work() -> float:
        keys = queue()
        keys.add_after("late", 30)
        keys.add_after("early", 12)
        assert await keys.take() == "early"
        return now()

    assert run_in_virtual_time(work()) == pytest.approx(12)


def test_a_change_overtakes_a_delay() -> None:
    async def work() -> float:
        keys = queue()
        keys.add_after("a", 60)
        asyncio.get_running_loop().call_later(2, keys.add, "a")
        await keys.take()
        keys.done("a")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(keys.take(), 120)
        return now()

    assert run_in_virtual_time(work()) == pytest.approx(122)


def test_failures_of_one_key_wait_longer_each_time_and_do_not_slow_another() -> None:
    async def work() -> tuple[list[float], float]:
        keys = queue()
        delays = [keys.retry("bad") for _ in range(12)]
        return delays, keys.retry("good")

    delays, first = run_in_virtual_time(work())
    assert delays[:4] == [0.25, 0.5, 1.0, 2.0]
    assert delays[-1] == MAX_DELAY_SECONDS
    assert first == 0.25


def test_after_a_success_the_next_failure_is_the_first() -> None:
    async def work() -> float:
        keys = queue()
        for _ in range(5):
            keys.retry("a")
        keys.forget("a")
        return keys.retry("a")

    assert run_in_virtual_time(work()) == 0.25


def test_what_was_put_off_in_an_outage_is_due_when_it_is_over_and_nothing_else() -> None:
    async def work() -> dict[str, float]:
        keys, taken = queue(), dict[str, float]()
        for _ in range(12):
            keys.retry("outage", passing=True)
            keys.retry("own fault", 5.0)
        keys.retry("came through", passing=True)
        keys.forget("came through")
        keys.hurry()
        while len(taken) < 3:
            key = await keys.take()
            taken.setdefault(key, now())
            keys.done(key)
        assert keys.retry("outage", passing=True) == 0.25
        return taken

    taken = run_in_virtual_time(work())
    assert taken["outage"] <= 1
    assert taken["own fault"] == pytest.approx(5)
    assert taken["came through"] == pytest.approx(0.25)


def test_a_noisy_key_has_its_turn_and_no_more() -> None:
    async def work() -> list[str]:
        keys, taken = queue(), list[str]()
        keys.add("noisy")
        while len(taken) < 6:
            key = await keys.take()
            taken.append(key)
            keys.add("noisy")
            if len(taken) < 3:
                keys.add(f"quiet-{len(taken)}")
                keys.add(f"new-{len(taken)}")
            keys.done(key)
        return taken

    assert run_in_virtual_time(work()) == ["noisy", "quiet-1", "new-1", "noisy", "quiet-2", "new-2"]


@given(least=st.floats(0.1, 500))
def test_a_pause_that_the_server_asks_for_is_kept_about(least: float) -> None:
    async def work() -> float:
        return WorkQueue(clock=now, jitter=lambda: 0.5).retry("a", least)

    assert run_in_virtual_time(work()) >= least


def test_closing_ends_every_waiting_worker_and_leaves_the_working_alone() -> None:
    async def work() -> None:
        keys = queue()
        keys.add("a")
        assert await keys.take() == "a"
        waiting = [asyncio.create_task(keys.take()) for _ in range(3)]
        await asyncio.sleep(0)
        keys.close()
        for task in waiting:
            with pytest.raises(QueueClosed):
                await task
        keys.done("a")

    run_in_virtual_time(work())


def test_many_workers_share_the_keys_and_none_works_on_the_key_of_another() -> None:
    async def work() -> tuple[int, int]:
        keys, working, handled = queue(), set[str](), 0

        async def worker() -> None:
            nonlocal handled
            while True:
                key = await keys.take()
                assert key not in working
                working.add(key)
                await asyncio.sleep(0.1)
                working.discard(key)
                handled += 1
                keys.done(key)

        workers = [asyncio.create_task(worker()) for _ in range(8)]
        for _ in range(20):
            for key in range(10):
                keys.add(str(key))
            await asyncio.sleep(0.03)
        await asyncio.sleep(5)
        for task in workers:
            assert not task.done()
            task.cancel()
        return handled, len(keys)

    handled, left = run_in_virtual_time(work())
    assert handled >= 10
    assert left == 0


def test_delays_that_are_over_before_their_time_take_no_memory() -> None:
    schedule = KeySchedule()
    keys = [f"team/bot-{number}" for number in range(100)]
    schedule.add_at("team/sooner", 1000.0)
    for moment in range(200):  # each is looked at every few seconds, and has a deadline in a week
        for key in keys:
            schedule.add_at(key, moment + 604_800.0)
            schedule.add(key)
            assert schedule.take(moment) == key
            schedule.done(key)
        assert len(schedule._heap) <= 2 * len(keys) + STALE_MOST
    assert schedule.next_due() == 1000.0
