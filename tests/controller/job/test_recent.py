import asyncio

from controller.job.recent import REMEMBERED_SECONDS, Recent
from controller.runtime.client import Client
from controller.runtime.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS
from tests.fakes import FakeApi


class Surroundings:
    def __init__(self) -> None:
        self.api, self.now = FakeApi(), 100.0
        self.put("rows", a="x")
        self.recent = Recent(Client(self.api, field_manager="test"), lambda: self.now)

    def put(self, name: str, **data: str) -> None:
        self.api.put(CONFIG_MAPS, {"metadata": {"name": name, "namespace": "team"}, "data": data})

    async def keys(self, wanted: str = "a", name: str = "rows", namespace: str = "team") -> list[str] | None:
        return await self.recent.keys(namespace, name, {wanted})


async def test_what_many_jobs_name_is_read_once() -> None:
    world = Surroundings()
    answers = await asyncio.gather(*(world.keys() for _ in range(20)))
    assert answers == [["a"]] * 20
    assert len(world.api.requests) == 1


async def test_it_is_read_again_after_a_moment() -> None:
    world = Surroundings()
    await world.keys()
    world.put("rows", b="x")
    world.now += REMEMBERED_SECONDS + 1
    assert await world.keys() == ["b"]


async def test_a_key_that_was_missing_is_found_as_soon_as_it_is_there() -> None:
    world = Surroundings()
    assert await world.keys("later") == ["a"]
    world.put("rows", a="x", later="y")
    assert await world.keys("later") == ["a", "later"]


async def test_what_is_missing_is_not_remembered() -> None:
    world = Surroundings()
    assert await world.keys(name="other") is None
    world.put("other", a="x")
    assert await world.keys(name="other") == ["a"]


async def test_namespaces_and_kinds_are_told_apart() -> None:
    world = Surroundings()
    assert await world.keys(namespace="else") is None
    claim = {"metadata": {"name": "rows", "namespace": "team"}, "spec": {"accessModes": ["ReadWriteMany"]}}
    world.api.put(PERSISTENT_VOLUME_CLAIMS, claim)
    assert await world.keys() == ["a"]
    assert await world.recent.modes("team", "rows") == ["ReadWriteMany"]
    assert await world.recent.modes("team", "rows") == ["ReadWriteMany"]
    assert len(world.api.requests) == 3


async def test_nothing_is_left_of_what_was_missing() -> None:
    world = Surroundings()
    for number in range(100):
        assert await world.keys(name=f"other-{number}") is None
    assert not world.recent._reading
    assert not world.recent._known
