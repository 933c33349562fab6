import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from controller.runtime.client import Client
from controller.runtime.connectivity import (
    DOUBT_PAUSE_SECONDS,
    LONGEST_DOUBT_PAUSE_SECONDS,
    OUTAGE_SECONDS,
    Connectivity,
    ObservedTransport,
)
from controller.runtime.errors import KubeError, Unreachable
from controller.runtime.transport import Response
from tests.controller.runtime.builders import WIDGETS, widget
from tests.fakes import FakeApi
from tests.virtual_time import now, run_in_virtual_time

pytestmark = pytest.mark.fault


class Observed:
    """A client whose requests are observed, and when recoveries were reported."""

    def __init__(self) -> None:
        self.api, self.recoveries, self.losses, self.doubts = FakeApi(), list[float](), list[float](), list[float]()
        self.connectivity = Connectivity(now)
        self.connectivity.on_loss(lambda: self.losses.append(now()))
        self.connectivity.on_recovery(lambda: self.recoveries.append(now()))
        self.connectivity.on_doubt(lambda: self.doubts.append(now()))
        self.client = Client(ObservedTransport(self.api, self.connectivity), field_manager="test")

    async def ask(self) -> None:
        with contextlib.suppress(KubeError):
            await self.client.get(WIDGETS, "a", "team-a")

    async def ask_for(self, seconds: float, pause: float = 2.0) -> None:
        end = now() + seconds
        while now() < end:
            await self.ask()
            await asyncio.sleep(pause)


def play(act: Callable[[Observed], Awaitable[None]]) -> Observed:
    async def main() -> Observed:
        observed = Observed()
        await act(observed)
        return observed

    return run_in_virtual_time(main())


def test_the_first_answer_after_an_outage_reports_its_end_once() -> None:
    async def act(observed: Observed) -> None:
        observed.api.fail(Unreachable("refused"), times=10)
        await observed.ask_for(40)
        assert not observed.connectivity.down

    assert play(act).recoveries == [20]


@pytest.mark.parametrize("status", [200, 401, 404, 429, 500])
def test_every_answer_is_one_whatever_it_says(status: int) -> None:
    async def act(observed: Observed) -> None:
        for _ in range(10):
            observed.api.fail(Unreachable("refused"))
            observed.api.fail(Response(status, b"{}"))
            await observed.ask_for(4)
        assert not observed.connectivity.down

    assert play(act).recoveries == []


def test_answers_that_are_lost_within_moments_are_no_outage() -> None:
    async def act(observed: Observed) -> None:
        observed.api.fail(Unreachable("cut"), times=20)
        for _ in range(20):
            await observed.ask()
        await asyncio.sleep(OUTAGE_SECONDS)
        await observed.ask()

    assert play(act).recoveries == []


def test_a_black_hole_is_an_outage_though_everybody_gives_up_before_the_time_out() -> None:
    async def act(observed: Observed) -> None:
        observed.api.black_hole = True
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(observed.ask(), 5)
        assert observed.connectivity.down
        observed.api.black_hole = False
        await observed.ask()

    assert play(act).recoveries == [15]


def test_a_single_lost_answer_is_an_outage_if_nothing_was_answered_for_long() -> None:
    async def act(observed: Observed) -> None:
        await observed.ask()
        observed.api.black_hole = True
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(observed.ask(), OUTAGE_SECONDS)
        observed.api.black_hole = False
        await asyncio.sleep(1)
        await observed.ask()

    observed = play(act)
    assert (observed.losses, observed.recoveries) == ([OUTAGE_SECONDS], [OUTAGE_SECONDS + 1])


def test_an_outage_has_new_connections_made_once() -> None:
    async def act(observed: Observed) -> None:
        observed.api.fail(Unreachable("silent"), times=10)
        await observed.ask_for(60)

    observed = play(act)
    assert observed.losses == [4]
    assert observed.api.renewals == 1


def test_work_that_is_cancelled_while_others_get_their_answers_is_no_outage() -> None:
    async def act(observed: Observed) -> None:
        for _ in range(20):
            observed.api.black_hole = True
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(observed.ask(), 1)
            observed.api.black_hole = False
            await observed.ask()
        assert not observed.connectivity.down

    assert play(act).recoveries == []


def losing_some(observed: Observed, seconds: float, waiting_seconds: float) -> Callable[[], Awaitable[None]]:
    """Return what loses an answer again and again while others come."""

    async def lose() -> None:
        end = now() + seconds
        while now() < end:
            observed.api.black_hole = True
            lost = asyncio.create_task(observed.ask())
            await asyncio.sleep(0.01)
            observed.api.black_hole = False
            for _ in range(round(waiting_seconds)):
                await observed.ask()
                await asyncio.sleep(1)
            lost.cancel()
            await asyncio.gather(lost, return_exceptions=True)

    return lose


def test_an_answer_that_is_lost_while_others_come_makes_all_connect_anew() -> None:
    async def act(observed: Observed) -> None:
        await losing_some(observed, 5, waiting_seconds=5)()
        assert not observed.connectivity.down

    observed = play(act)
    assert observed.losses == observed.doubts == [pytest.approx(5, abs=0.1)]
    assert observed.recoveries == []
    assert observed.api.renewals == 1


def test_a_server_that_loses_an_answer_now_and_then_is_not_asked_for_everything_each_time() -> None:
    observed = play(lambda observed: losing_some(observed, 4000, waiting_seconds=5)())
    pauses = [later - earlier for earlier, later in pairwise(observed.doubts)]
    assert len(observed.losses) == len(observed.doubts)
    expected = [30, 60, 120, 240, 480, *[LONGEST_DOUBT_PAUSE_SECONDS] * 5]
    assert pauses == pytest.approx(expected, abs=6)


def test_a_doubt_after_a_long_quiet_time_is_the_first_again() -> None:
    async def act(observed: Observed) -> None:
        await losing_some(observed, 100, waiting_seconds=5)()
        await observed.ask_for(2 * LONGEST_DOUBT_PAUSE_SECONDS)
        await losing_some(observed, 40, waiting_seconds=5)()

    doubts = play(act).doubts
    assert doubts[-1] - doubts[-2] == pytest.approx(DOUBT_PAUSE_SECONDS, abs=6)


def test_an_answer_that_was_lost_in_an_outage_does_not_count_after_it() -> None:
    async def act(observed: Observed) -> None:
        observed.api.black_hole = True
        lost = [asyncio.create_task(observed.ask()) for _ in range(2)]
        await asyncio.sleep(OUTAGE_SECONDS + 1)
        lost[0].cancel()
        await asyncio.sleep(1)
        observed.api.black_hole = False
        await observed.ask()
        lost[1].cancel()
        await asyncio.gather(*lost, return_exceptions=True)

    observed = play(act)
    assert (observed.losses, observed.recoveries) == ([OUTAGE_SECONDS + 1], [OUTAGE_SECONDS + 2])


def test_a_watch_that_opens_is_an_answer() -> None:
    async def act(observed: Observed) -> None:
        observed.api.fail(Unreachable("refused"), times=5)
        await observed.ask_for(10)
        assert observed.connectivity.down
        observed.api.put(WIDGETS, widget("a"))
        events = observed.client.watch(WIDGETS, resource_version="0", timeout_seconds=60, inactivity_seconds=60)
        await anext(events)
        await events.aclose()
        await observed.client.close()
        assert observed.api.closed

    assert len(play(act).recoveries) == 1


def test_a_process_that_stood_still_takes_it_as_an_outage_that_is_over() -> None:
    async def main() -> list[float]:
        stopped = 0.0
        connectivity, recoveries = Connectivity(lambda: now() + stopped), list[float]()
        api = FakeApi()
        ObservedTransport(api, connectivity)
        connectivity.on_recovery(lambda: recoveries.append(now()))
        watching = asyncio.create_task(connectivity.watch_for_standstills())
        await asyncio.sleep(100)
        assert recoveries == []
        stopped = 60.0
        await asyncio.sleep(100)
        watching.cancel()
        assert api.renewals == 1
        return recoveries

    [recovery] = run_in_virtual_time(main())
    assert recovery == pytest.approx(101, abs=1)
