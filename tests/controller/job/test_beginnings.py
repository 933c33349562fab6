"""What a process that has begun an attempt itself does not ask for, and when it looks all the same."""

from datetime import timedelta
from typing import Any

import pytest

from controller.job.beginnings import SEEN_WITHIN_SECONDS
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.resources import CONFIG_MAPS
from tests.controller.job.world import KEY, World
from tests.fakes import CREATED


def asked(world: World) -> list[str]:
    """Every request so far but for writes."""
    return [f"{each.method} {each.path.rsplit('/', 1)[-1]}" for each in world.api.requests if each.method == "GET"]


async def test_a_new_job_is_read_for_once_and_its_first_attempt_is_created_without_looking() -> None:
    world = World()
    await world.step()
    assert asked(world) == ["GET rows"]
    await world.step()
    assert asked(world) == ["GET rows", "GET models"]
    assert world.ray_jobs() == ["bot-1"]


async def test_another_process_looks_before_it_creates_what_the_first_one_began() -> None:
    world = World()
    await world.step()
    world.restart()
    await world.step()
    assert {"GET pods", "GET rayclusters", "GET rayjobs", "GET bot"} <= set(asked(world))


@pytest.mark.parametrize(
    "change",
    [
        lambda world: world.change_job({"runPolicy": {"maxAttempts": 2}}),
        lambda world: setattr(world, "now", world.now + timedelta(minutes=3)),
    ],
    ids=["the job was changed", "that was long ago"],
)
async def test_what_is_not_as_it_was_begun_is_looked_at(change: Any) -> None:
    world = World()
    await world.step()
    change(world)
    await world.step()
    assert "GET pods" in asked(world)


async def test_an_old_job_whose_status_somebody_has_emptied_has_a_past() -> None:
    world = World()
    world.now += timedelta(hours=1)
    await world.step()
    await world.step()
    assert "GET pods" in asked(world)


async def test_a_job_that_waited_has_a_past() -> None:
    world = World(data={"train": [{"configMap": {"name": "later", "key": "a.jsonl"}}]})
    await world.step()
    world.api.put(CONFIG_MAPS, {"metadata": {"name": "later", "namespace": "team"}, "data": {"a.jsonl": ""}})
    await world.step()
    await world.step()
    assert "GET pods" in asked(world)


async def test_a_name_that_is_taken_is_a_past() -> None:
    world = World()
    await world.step()
    world.catch_up()
    world.put_ray_job(1, "", "Initializing")  # and no watch reports it
    world.edit(RAY_JOBS, "bot-1", deletionTimestamp=CREATED)
    await world.reconciler.reconcile(KEY)
    assert {"GET pods", "GET rayclusters", "GET rayjobs"} <= set(asked(world))
    assert "bot-1, which is being deleted" in world.condition("Running")["message"]


async def test_a_ray_job_that_was_just_created_is_waited_for_and_not_asked_for() -> None:
    world = World()
    await world.step()
    await world.step()
    count = len(world.api.requests)
    stores = world.stores
    job = world.api.objects(FINE_TUNE_JOBS)
    stores.jobs.replace(job)  # its own status has come back, its RayJob not yet
    assert await world.reconciler.reconcile(KEY) == SEEN_WITHIN_SECONDS
    assert len(world.api.requests) == count
    world.now += timedelta(seconds=SEEN_WITHIN_SECONDS)
    await world.reconciler.reconcile(KEY)
    assert "GET rayjobs" in asked(world)


async def test_a_ray_job_that_the_cache_shows_is_taken_over_at_once() -> None:
    world = World()
    await world.step()
    await world.step()
    await world.step()
    assert "startTime" in world.status["attempts"][0]
    assert "GET rayjobs" not in asked(world)
