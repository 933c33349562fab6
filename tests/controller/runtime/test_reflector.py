import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from controller.runtime.client import Client
from controller.runtime.errors import Unreachable
from controller.runtime.metrics import Metrics
from controller.runtime.reflector import Reflector, Selection, Timings
from controller.runtime.resources import KubeObject
from controller.runtime.store import Change, Store, StoreState
from controller.runtime.transport import Response
from tests.controller.runtime.builders import WIDGETS, until, widget
from tests.fakes import FakeApi
from tests.virtual_time import now, run_in_virtual_time


class Watched:
    """A reflector that runs against a fake API server, and what it reported."""

    def __init__(self, api: FakeApi, **options: object) -> None:
        self.api = api
        self.store = Store()
        self.metrics = Metrics("test")
        self.changes: list[tuple[str, str]] = []
        self.states: list[StoreState] = []
        self.reflector = Reflector(
            Client(api, field_manager="test"),
            WIDGETS,
            self.store,
            self.metrics,
            on_change=self._note,
            on_state=self.states.append,
            jitter=lambda: 0.5,
            **options,  # type: ignore[arg-type]
        )

    def _note(self, change: Change) -> None:
        kind = "deleted" if change.new is None else "added" if change.old is None else "changed"
        self.changes.append((kind, change.key.split("/")[1]))

    @property
    def names(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.store.all()]

    def restarts(self, reason: str) -> float:
        return self.metrics.registry.get_sample_value("test_watch_restarts_total", {"resource": str(WIDGETS), "reason": reason}) or 0.0

    def lists(self) -> int:
        return sum("watch" not in request.query and "continue" not in request.query for request in self.api.requests)


@asynccontextmanager
async def running(watched: Watched) -> AsyncIterator[None]:
    task = asyncio.create_task(watched.reflector.run())
    try:
        yield
    finally:
        assert not task.done(), task
        task.cancel()
        await asyncio.wait([task])


def scenario(*items: KubeObject, **options: object) -> Callable[[Callable[[FakeApi, Watched], Awaitable[None]]], Watched]:
    """Run a test's coroutine in virtual time, beside a reflector that has listed `items` already."""

    def play(act: Callable[[FakeApi, Watched], Awaitable[None]]) -> Watched:
        async def main() -> Watched:
            api = FakeApi()
            for item in items:
                api.put(WIDGETS, item)
            watched = Watched(api, **options)
            async with running(watched):
                await until(lambda: watched.store.state is not StoreState.SYNCING)
                await act(api, watched)
            return watched

        return run_in_virtual_time(main())

    return play


def test_what_is_there_and_what_comes_is_in_the_store() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        api.put(WIDGETS, widget("b"))
        api.put(WIDGETS, widget("a", color="red"))
        api.remove(WIDGETS, "team-a", "b")
        await until(lambda: len(watched.changes) == 4)

    watched = scenario(widget("a"))(act)

    assert watched.changes == [("added", "a"), ("added", "b"), ("changed", "a"), ("deleted", "b")]
    assert watched.store.all()[0]["color"] == "red"


def test_a_long_list_is_read_in_pages() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(watched.names) == 25)

    watched = scenario(*[widget(f"w{number:02}") for number in range(25)], page_limit=10)(act)

    assert [request.query["limit"] for request in watched.api.requests if "watch" not in request.query] == ["10"] * 3


def test_managed_fields_are_not_kept() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: watched.names == ["a"])

    item = widget("a")
    item["metadata"]["managedFields"] = [{"manager": "kubectl"}]

    assert "managedFields" not in scenario(item)(act).store.all()[0]["metadata"]


def test_a_cut_watch_goes_on_where_it_was_without_a_new_list() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        api.put(WIDGETS, widget("b"))
        await until(lambda: "b" in watched.names)
        api.cut_watches()
        api.put(WIDGETS, widget("c"))
        await until(lambda: "c" in watched.names)

    watched = scenario(widget("a"))(act)

    assert watched.lists() == 1
    assert watched.changes == [("added", "a"), ("added", "b"), ("added", "c")]
    assert [request.query["resourceVersion"] for request in watched.api.watches()] == ["1", "2"]
    assert watched.restarts("unreachable") == 1


def test_a_bookmark_moves_the_place_to_go_on_from() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        api.bookmark(WIDGETS)
        await asyncio.sleep(1)
        api.compact(WIDGETS)
        api.cut_watches()
        api.put(WIDGETS, widget("b"))
        await until(lambda: "b" in watched.names)

    watched = scenario(widget("a"))(act)

    assert watched.lists() == 1
    assert watched.api.watches()[-1].query["resourceVersion"] == "2"


def test_a_version_that_is_too_old_causes_a_new_list_and_missed_deletions_are_reported() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        api.remove(WIDGETS, "team-a", "gone", silent=True)
        api.put(WIDGETS, widget("new"), silent=True)
        api.compact(WIDGETS)
        api.cut_watches()
        await until(lambda: "new" in watched.names)

    watched = scenario(widget("stays"), widget("gone"))(act)

    assert watched.names == ["new", "stays"]
    assert sorted(watched.changes[2:]) == [("added", "new"), ("deleted", "gone")]
    assert watched.restarts("gone") == 1


def test_pages_that_expire_half_way_are_read_again_from_the_first() -> None:
    async def main() -> Watched:
        api = FakeApi()
        for number in range(6):
            api.put(WIDGETS, widget(f"w{number}"))
        api.fail(Response(410, b'{"reason": "Expired"}'), query="continue")
        watched = Watched(api, page_limit=2)
        async with running(watched):
            await until(lambda: len(watched.names) == 6)
        return watched

    assert run_in_virtual_time(main()).lists() == 2


def test_a_watch_that_falls_silent_is_given_up_and_resumed() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        api.put(WIDGETS, widget("missed"), silent=True)
        began = now()
        await until(lambda: len(api.watches()) == 2, seconds=1000)
        assert 120 <= now() - began <= 122

    watched = scenario(timings=Timings(watch_seconds=3000))(act)

    assert watched.restarts("unreachable") == 1


def test_a_black_hole_is_noticed_and_survived() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        api.black_hole = True
        api.cut_watches()
        await asyncio.sleep(1000)
        api.black_hole = False
        api.put(WIDGETS, widget("after"))
        await until(lambda: "after" in watched.names, seconds=300)

    assert scenario(widget("a"))(act).names == ["a", "after"]


def test_the_end_that_the_server_sets_to_a_watch_costs_no_delay() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        api.put(WIDGETS, widget("a"))
        await asyncio.sleep(90)
        started = now()
        await until(lambda: len(api.watches()) == 2, seconds=100)
        assert now() - started < 1

    watched = scenario(timings=Timings(watch_seconds=60))(act)

    assert watched.restarts("ended") == 1


def test_a_server_that_ends_every_watch_at_once_is_asked_ever_less_often() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        api.fail(Response(200, b""), watch=True, times=1000)
        await asyncio.sleep(600)

    assert len(scenario()(act).api.watches()) < 40


def test_a_server_that_is_down_is_asked_ever_less_often_and_listed_when_it_is_back() -> None:
    async def main() -> tuple[int, float]:
        api = FakeApi()
        api.put(WIDGETS, widget("a"))
        api.fail(Unreachable("connection refused"), times=30)
        watched = Watched(api)
        async with running(watched):
            await asyncio.sleep(300)
            asked = len(api.requests)
            assert watched.store.state is StoreState.SYNCING
            await until(lambda: watched.names == ["a"], seconds=1000)
        return asked, now()

    asked, seconds = run_in_virtual_time(main())
    assert asked <= 20
    assert seconds > 300


def test_a_server_that_refuses_to_resume_is_listed_after_a_few_tries() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        api.fail(Response(504, b'{"message": "Too large resource version"}'), watch=True, times=3)
        api.cut_watches()
        await until(lambda: watched.lists() == 2)

    assert scenario(widget("a"))(act).lists() == 2


@pytest.mark.parametrize("status", [429, 401], ids=["too many requests", "credentials expired"])
def test_a_watch_that_is_refused_for_now_goes_on_where_it_was_when_the_server_says(status: int) -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        api.fail(Response(status, b"{}", {"Retry-After": "40"}), watch=True)
        api.cut_watches()
        await until(lambda: len(api.watches()) == 2)
        refused = now()
        api.put(WIDGETS, widget("b"))
        await until(lambda: "b" in watched.names, seconds=100)
        assert 39.9 <= now() - refused <= 42

    assert scenario(widget("a"))(act).lists() == 1


def test_a_pause_of_an_hour_does_not_make_a_cache_deaf_for_an_hour() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        api.fail(Response(503, b"{}", {"Retry-After": "3600"}), watch=True)
        api.cut_watches()
        await until(lambda: len(api.watches()) == 2)
        refused = now()
        api.put(WIDGETS, widget("b"))
        await until(lambda: "b" in watched.names, seconds=400)
        assert now() - refused <= Timings().inactivity_seconds + 2

    scenario(widget("a"))(act)


def test_only_what_is_read_is_kept_of_an_object() -> None:
    def project(item: KubeObject) -> KubeObject:
        return {"metadata": item["metadata"], "color": item["color"]}

    async def act(api: FakeApi, watched: Watched) -> None:
        api.put(WIDGETS, widget("b", color="blue", weight=2))
        await until(lambda: "b" in watched.names)

    watched = scenario(widget("a", color="red", weight=1), project=project)(act)

    assert [(item["color"], "weight" in item) for item in watched.store.all()] == [("red", False), ("blue", False)]


def test_a_kind_that_is_not_installed_is_absent_and_found_when_it_comes() -> None:
    async def main() -> Watched:
        api = FakeApi()
        api.absent.add(str(WIDGETS))
        watched = Watched(api)
        async with running(watched):
            await asyncio.wait_for(watched.store.wait_until_known(), 10)
            assert watched.store.state is StoreState.ABSENT
            await asyncio.sleep(3600)
            assert len(api.requests) < 200
            api.absent.clear()
            api.put(WIDGETS, widget("a"))
            await until(lambda: watched.names == ["a"], seconds=60)
        return watched

    assert run_in_virtual_time(main()).states == [StoreState.ABSENT, StoreState.SYNCED]


@pytest.mark.parametrize("optional", [False, True])
def test_that_a_kind_is_not_installed_is_told_once_and_is_no_warning_where_it_need_not_be(
    optional: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        api = FakeApi()
        api.absent.add(str(WIDGETS))
        watched = Watched(api, optional=optional)
        async with running(watched):
            await asyncio.sleep(3600)

    caplog.set_level(logging.INFO)
    run_in_virtual_time(main())
    told = [each.levelname for each in caplog.records if getattr(each, "resource", "") == str(WIDGETS)]
    assert told == (["INFO"] if optional else ["WARNING", "WARNING"])


def test_a_kind_that_is_uninstalled_takes_its_objects_along() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        api.absent.add(str(WIDGETS))
        api.cut_watches()
        await until(lambda: watched.store.state is StoreState.ABSENT)

    watched = scenario(widget("a"))(act)

    assert watched.changes == [("added", "a"), ("deleted", "a")]


def test_one_not_found_of_a_server_that_is_starting_deletes_nothing() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        api.fail(Response(404, b"404 page not found\n"), watch=True, times=2)
        api.cut_watches()
        api.put(WIDGETS, widget("b"))
        await until(lambda: "b" in watched.names)

    watched = scenario(widget("a"))(act)

    assert watched.changes == [("added", "a"), ("added", "b")]
    assert watched.states == [StoreState.SYNCED]


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        pytest.param(Selection("team-a"), ["labeled", "plain"], id="one namespace"),
        pytest.param(Selection(label_selector="job"), ["labeled", "other"], id="with a label"),
        pytest.param(Selection("team-a", "job=x"), ["labeled"], id="with a value in a namespace"),
    ],
)
def test_only_the_selected_objects_are_kept(selection: Selection, names: list[str]) -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        await asyncio.sleep(1)

    items = [widget("plain"), widget("labeled", labels={"job": "x"}), widget("other", namespace="team-b", labels={"job": "y"})]

    assert scenario(*items, selection=selection)(act).names == names


def test_a_watch_that_is_dead_without_a_sign_is_opened_again_on_request_and_misses_nothing() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        api.put(WIDGETS, widget("b"), silent=True)
        api.remove(WIDGETS, "team-a", "a")
        await until(lambda: watched.names == [])
        began = now()
        watched.reflector.reconnect()
        await until(lambda: len(api.watches()) == 2)
        assert now() - began < 1
        assert api.watches()[1].query["resourceVersion"] == str(api.version)

    assert scenario(widget("a"))(act).lists() == 1


def test_a_watch_that_may_be_dead_is_opened_again_where_it_was() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        began = now()
        watched.reflector.reopen()
        await until(lambda: len(api.watches()) == 2)
        assert now() - began < 1

    assert scenario(widget("a"))(act).lists() == 1


def test_a_doubt_interrupts_no_list_and_no_pause() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        api.fail(Response(429, b"{}", {"Retry-After": "60"}), watch=True)
        api.cut_watches()
        await asyncio.sleep(5)
        before = len(api.requests)
        watched.reflector.reopen()
        await asyncio.sleep(40)
        assert len(api.requests) == before, "the pause that the server asked for"
        await asyncio.sleep(30)
        api.cut_watches()
        api.put(WIDGETS, widget("b"))
        api.compact(WIDGETS)
        api.slow_seconds = 20
        await until(lambda: watched.lists() == 2)
        for _ in range(4):
            await asyncio.sleep(4)
            watched.reflector.reopen()
        await asyncio.sleep(20)
        assert watched.lists() == 2, "a list that was under way came to its end"

    scenario(widget("a"))(act)


def test_what_was_put_off_in_an_outage_is_tried_at_once_when_it_is_over() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        api.fail(Unreachable("refused"), times=1000)
        api.cut_watches()
        await asyncio.sleep(120)
        api.heal()
        api.put(WIDGETS, widget("b"))
        over = now()
        watched.reflector.reconnect()
        await until(lambda: "b" in watched.names)
        assert now() - over < 1

    scenario(widget("a"))(act)


def test_a_watch_that_is_too_old_after_an_outage_does_not_wait_for_as_long_as_the_outage_made_it_wait() -> None:
    async def act(api: FakeApi, watched: Watched) -> None:
        await until(lambda: len(api.watches()) == 1)
        api.fail(Unreachable("refused"), watch=True, times=12)
        api.cut_watches()
        await until(lambda: len(api.watches()) == 13, seconds=1000)
        api.put(WIDGETS, widget("b"))
        api.compact(WIDGETS)
        await until(lambda: len(api.watches()) == 14, seconds=100)
        refused = now()
        await until(lambda: "b" in watched.names, seconds=100)
        assert now() - refused < 1

    scenario(widget("a"))(act)
