import asyncio

import pytest

from controller.runtime.client import Client
from controller.runtime.elector import Elector, FencedTransport, clock_with_suspend
from controller.runtime.errors import Conflict, NotLeading
from controller.runtime.resources import LEASES
from controller.runtime.transport import Response
from tests.controller.runtime.builders import WIDGETS, until, widget
from tests.controller.runtime.replicas import TIMINGS, elector, lease, play
from tests.fakes import FakeApi
from tests.virtual_time import now, run_in_virtual_time


def test_the_first_to_come_leads_and_the_lease_says_so() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        assert a.leading()
        assert not b.leading()
        assert lease(api)["holderIdentity"] == "a"
        assert lease(api)["leaseDurationSeconds"] == 15

    play(act)


def test_while_the_leader_renews_the_other_waits() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        keeping = asyncio.create_task(a.keep())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(b.acquire(), 600)
        assert a.leading()
        assert lease(api)["leaseTransitions"] == 0
        keeping.cancel()

    play(act)


def test_a_renewal_is_one_request_while_nobody_else_writes() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        keeping = asyncio.create_task(a.keep())
        await asyncio.sleep(1)
        before = len(api.requests)
        await asyncio.sleep(10 * TIMINGS.retry)
        assert [request.method for request in api.requests[before:]] == ["PUT"] * 10
        keeping.cancel()

    play(act)


def test_a_leader_reads_its_lease_once_after_somebody_edited_it_and_keeps_the_edit() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        keeping = asyncio.create_task(a.keep())
        await asyncio.sleep(1)
        before = len(api.requests)
        [found] = api.objects(LEASES)
        api.put(LEASES, {**found, "metadata": {**found["metadata"], "labels": {"team": "a"}}})
        await asyncio.sleep(2 * TIMINGS.retry)
        assert [request.method for request in api.requests[before:]] == ["PUT", "GET", "PUT", "PUT"]
        assert api.objects(LEASES)[0]["metadata"]["labels"] == {"team": "a"}
        assert a.leading()
        keeping.cancel()

    play(act)


def test_a_lease_that_was_released_is_taken_over_at_once() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        waiting = asyncio.create_task(b.acquire())
        await asyncio.sleep(5)
        await a.release()
        assert not a.leading()
        released = now()
        await waiting
        assert now() - released <= 1.2 * TIMINGS.retry
        assert lease(api)["leaseTransitions"] == 1

    play(act)


def test_a_lease_is_taken_over_at_the_moment_from_which_it_may_be() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        took = []
        for tenths in range(0, 24, 2):
            await a.acquire()
            waiting = asyncio.create_task(b.acquire())
            await asyncio.sleep(tenths / 10)
            await a._attempt(1.0)
            renewed = now()
            await waiting
            took.append(now() - renewed)
            await b.release()
        # The other has seen the last renewal a pause later at most.
        assert TIMINGS.duration < min(took)
        assert max(took) <= TIMINGS.duration + 1.1 * TIMINGS.retry + 0.01

    play(act)


def test_the_lease_of_a_leader_that_was_killed_is_taken_over_after_it_expired_and_not_before() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        killed = now()
        await b.acquire()
        assert TIMINGS.duration < now() - killed <= TIMINGS.duration + 2.4 * TIMINGS.retry

    play(act)


def test_a_leader_whose_api_is_a_black_hole_stops_before_its_lease_expires() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        last_request = now()
        api.black_hole = True
        await a.keep()
        assert TIMINGS.renew_deadline - 1.2 * TIMINGS.retry <= now() - last_request <= TIMINGS.renew_deadline
        assert not a.leading()

    play(act)


def test_one_lost_answer_does_not_end_the_leadership() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        api.fail(Response(503, b""), method="PUT", times=2)
        api.fail(Conflict("somebody annotated the lease"), method="PUT")
        keeping = asyncio.create_task(a.keep())
        await asyncio.sleep(120)
        assert not keeping.done()
        assert a.leading()
        keeping.cancel()

    play(act)


def test_a_leader_that_finds_another_in_its_lease_stops_at_once() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        item = dict(api.objects(LEASES)[0])
        api.put(LEASES, {**item, "spec": {**item["spec"], "holderIdentity": "intruder"}})
        began = now()
        await a.keep()
        assert now() - began <= TIMINGS.retry
        assert not a.leading()

    play(act)


def test_releasing_leaves_the_lease_of_another_alone() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await b.acquire()
        await a.release()
        assert lease(api)["holderIdentity"] == "b"

    play(act)


def test_a_release_that_gets_no_answer_does_not_hold_up_the_end() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        api.black_hole = True
        began = now()
        await a.release()
        assert now() - began <= TIMINGS.duration - TIMINGS.renew_deadline
        assert not a.leading()

    play(act)


def test_a_renewal_that_is_still_on_its_way_does_not_spoil_the_release() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        api.fail(Conflict("the renewal came first"), method="PUT")
        await a.release()
        assert lease(api)["holderIdentity"] == ""

    play(act)


def test_the_clock_of_the_other_machine_does_not_matter() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        item = dict(api.objects(LEASES)[0])
        api.put(LEASES, {**item, "spec": {**item["spec"], "renewTime": "1999-01-01T00:00:00.000000Z"}})
        began = now()
        await b.acquire()
        assert now() - began > TIMINGS.duration

    play(act)


def test_a_process_that_was_stopped_for_long_writes_nothing_when_it_goes_on() -> None:
    async def main() -> None:
        api = FakeApi()
        stopped = 0.0
        a = elector(api, "a", clock=lambda: now() + stopped)
        client = Client(FencedTransport(api, a.leading), field_manager="test")
        await a.acquire()
        await client.create(WIDGETS, widget("before"))
        stopped = 60.0
        with pytest.raises(NotLeading, match="does not hold the lease"):
            await client.create(WIDGETS, widget("after"))
        assert (await client.get(WIDGETS, "before", "team-a"))["kind"] == "Widget"
        with pytest.raises(NotLeading):
            await client.delete(WIDGETS, "before", "team-a")
        assert len(api.objects(WIDGETS)) == 1

    run_in_virtual_time(main())


async def test_a_fence_lets_watches_through() -> None:
    api = FakeApi()
    client = Client(FencedTransport(api, lambda: False), field_manager="test")
    events: list[str] = []

    async def follow() -> None:
        async for event in client.watch(WIDGETS, resource_version="0", timeout_seconds=60, inactivity_seconds=60):
            events.append(event.type)

    watching = asyncio.create_task(follow())
    api.put(WIDGETS, widget("a"))
    await until(lambda: events == ["ADDED"], seconds=5)
    watching.cancel()
    await client.close()
    assert api.closed


def test_the_clock_goes_forward() -> None:
    first = clock_with_suspend()
    assert clock_with_suspend() >= first
