"""Nobody leads beside another, whatever somebody does to the Lease, to the replicas and to their ways to the API server."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.runtime.client import Client
from controller.runtime.elector import LONGEST_DURATION_SECONDS, RELEASED, Elector, LeaseTimings
from controller.runtime.errors import Unreachable
from controller.runtime.resources import LEASES
from controller.runtime.transport import Request, Response
from tests.controller.runtime.replicas import LEASE, TIMINGS, Line, elector, lead_for_ever, lease, play
from tests.fakes import FakeApi
from tests.virtual_time import now, run_in_virtual_time

pytestmark = pytest.mark.fault


def edit(api: FakeApi, **spec: Any) -> None:
    """Somebody changes members of the Lease; None removes one."""
    if api.objects(LEASES):
        item = api.objects(LEASES)[0]
        changed = {name: value for name, value in {**item["spec"], **spec}.items() if value is not None}
        api.put(LEASES, {**item, "metadata": dict(item["metadata"]), "spec": changed})


def delete(api: FakeApi) -> None:
    if api.objects(LEASES):
        api.remove(LEASES, *LEASE)


def restore(api: FakeApi, **spec: Any) -> None:
    """Somebody deletes the Lease and puts a copy from a backup in its place, as it was when its holder had given it back."""
    uid = api.objects(LEASES)[0]["metadata"]["uid"] if api.objects(LEASES) else "old"
    delete(api)
    metadata = {"namespace": LEASE[0], "name": LEASE[1], "annotations": {RELEASED: uid}}
    api.put(LEASES, {"metadata": metadata, "spec": {"holderIdentity": "", "leaseDurationSeconds": 1, **spec}})


MEDDLING: dict[str, Callable[[FakeApi], None]] = {
    "deleted": delete,
    "given to somebody who is not there": lambda api: edit(api, holderIdentity="ghost", leaseDurationSeconds=1),
    "given to the standby": lambda api: edit(api, holderIdentity="b"),
    "holder emptied": lambda api: edit(api, holderIdentity=""),
    "holder emptied, duration of a release": lambda api: edit(api, holderIdentity="", leaseDurationSeconds=1),
    "holder removed": lambda api: edit(api, holderIdentity=None),
    "duration shortened": lambda api: edit(api, leaseDurationSeconds=1),
    "duration removed, clock of another age": lambda api: edit(api, leaseDurationSeconds=None, renewTime="1999-01-01T00:00:00.000000Z"),
    "released copy restored": restore,
    "copy restored that names the standby": lambda api: restore(api, holderIdentity="b"),
    "copy restored that names the leader": lambda api: restore(api, holderIdentity="a"),
}


@pytest.mark.parametrize("cut", [False, True], ids=["while the leader is well", "while the leader is cut off"])
@pytest.mark.parametrize("meddle", MEDDLING.values(), ids=MEDDLING.keys())
def test_no_meddling_with_the_lease_makes_two_leaders_or_leaves_none_for_long(meddle: Callable[[FakeApi], None], cut: bool) -> None:
    async def main() -> None:
        api = FakeApi()
        line = Line(api)
        a, b = elector(line, "a"), elector(api, "b")
        await a.acquire()
        tasks = [asyncio.create_task(work) for work in (a.keep(), lead_for_ever(b))]
        await asyncio.sleep(7.3)
        assert a.leading()
        line.cut = cut
        meddle(api)
        for _ in range(600):
            await asyncio.sleep(0.1)
            assert a.leading() + b.leading() <= 1
        assert a.leading() != b.leading()
        for task in tasks:
            task.cancel()

    run_in_virtual_time(main())


@pytest.mark.parametrize(
    "meddle", [delete, MEDDLING["holder emptied"], MEDDLING["given to the standby"], MEDDLING["copy restored that names the leader"]]
)
def test_a_leader_stops_as_soon_as_it_finds_that_the_lease_is_not_the_one_it_holds(meddle: Callable[[FakeApi], None]) -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        meddle(api)
        began = now()
        await a.keep()
        assert now() - began <= TIMINGS.retry
        assert not a.leading()

    play(act)


def test_who_creates_the_lease_waits_as_long_as_a_leader_of_before_may_not_know_that_it_is_gone() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        began = now()
        creating = asyncio.create_task(a.acquire())
        await asyncio.sleep(1)
        assert lease(api)["holderIdentity"] == "a"
        assert not a.leading()
        await creating
        assert now() - began == pytest.approx(TIMINGS.duration, abs=0.01)

    play(act)


def test_a_wait_that_is_interrupted_by_an_outage_is_not_cut_short() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        creating = asyncio.create_task(a.acquire())
        await asyncio.sleep(1)
        delete(api)
        await asyncio.sleep(3)  # deleted again: the wait starts over
        api.black_hole = True
        await asyncio.sleep(TIMINGS.renew_deadline + 1)
        assert not a.leading()
        api.black_hole = False
        await creating
        assert now() >= 1 + TIMINGS.duration

    play(act)


def test_a_standby_waits_for_as_long_as_a_leader_of_longer_leases_may_work() -> None:
    async def main() -> None:
        api = FakeApi()
        line = Line(api)
        patient = Elector(
            Client(line, field_manager="test"), namespace="ns", name="lease", identity="patient",
            timings=LeaseTimings(duration=60, renew_deadline=45, retry=2), clock=now, jitter=lambda: 0.5,
        )  # fmt: skip
        await patient.acquire()
        hasty = elector(api, "hasty")
        waiting = asyncio.create_task(hasty.acquire())
        await asyncio.sleep(3)
        line.cut = True
        edit(api, leaseDurationSeconds=1)
        await asyncio.sleep(1)
        delete(api)
        deleted = now()
        await waiting
        assert now() - deleted >= 60
        assert not patient.leading()

    run_in_virtual_time(main())


def test_a_mistyped_duration_does_not_keep_the_others_out_for_ever() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        edit(api, leaseDurationSeconds=1_000_000)
        await asyncio.wait_for(b.acquire(), 1.1 * LONGEST_DURATION_SECONDS)

    play(act)


def test_after_an_outage_the_leader_of_before_goes_on_at_once_if_nobody_else_has_written_the_lease() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        api.black_hole = True
        await a.keep()
        await asyncio.sleep(60)
        api.black_hole = False
        back = now()
        await a.acquire()
        assert now() - back <= 1

    play(act)


def test_a_renewal_whose_answer_was_lost_is_known_again_by_its_writer() -> None:
    async def act(api: FakeApi, a: Elector, b: Elector) -> None:
        await a.acquire()
        send = api.send

        async def lose_the_answer(request: Request) -> Response:
            await send(request)
            raise Unreachable("the answer was lost")

        api.send = lose_the_answer  # type: ignore[method-assign]
        await a.keep()
        api.send = send  # type: ignore[method-assign]
        back = now()
        await a.acquire()
        assert now() - back <= 1

    play(act)


@settings(max_examples=40, deadline=None)
@given(
    outages=st.lists(st.tuples(st.floats(0.1, 40), st.floats(0.1, 40), st.integers(0, 3)), max_size=6),
    kills=st.lists(st.floats(1, 100), max_size=3),
    meddlings=st.lists(st.tuples(st.floats(0.1, 60), st.sampled_from(sorted(MEDDLING))), max_size=6),
)
def test_two_never_lead_at_once_whatever_happens_to_the_api_to_them_and_to_the_lease(
    outages: list[tuple[float, float, int]], kills: list[float], meddlings: list[tuple[float, str]]
) -> None:
    async def main() -> int:
        api = FakeApi()
        names = itertools.chain("ab", (f"replica-{number}" for number in itertools.count()))
        lines = [Line(api) for _ in range(3)]
        members = [elector(line, next(names)) for line in lines]
        tasks = [asyncio.create_task(lead_for_ever(member)) for member in members]
        everybody = list(members)

        async def disturb() -> None:
            for pause, length, which in outages:
                await asyncio.sleep(pause)
                hit = lines if which == len(lines) else [lines[which]]
                for line in hit:
                    line.cut = True
                await asyncio.sleep(length)
                for line in hit:
                    line.cut = False

        async def kill() -> None:
            for pause in kills:
                await asyncio.sleep(pause)
                for index, member in enumerate(members):
                    if member.leading():
                        tasks[index].cancel()
                        members[index] = elector(lines[index], next(names))
                        everybody.append(members[index])
                        tasks[index] = asyncio.create_task(lead_for_ever(members[index]))

        async def meddle() -> None:
            for pause, what in meddlings:
                await asyncio.sleep(pause)
                MEDDLING[what](api)

        disturbances = [asyncio.create_task(each()) for each in (disturb, kill, meddle)]
        led = 0
        while now() < 400:
            await asyncio.sleep(0.25)
            leaders = sum(member.leading() for member in everybody)
            assert leaders <= 1
            led += leaders
        for task in [*tasks, *disturbances]:
            task.cancel()
        return led

    assert run_in_virtual_time(main()) > 0
