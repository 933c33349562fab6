"""Attempts of a job never write at the same time, whatever caches say."""

from datetime import timedelta
from typing import Any

import pytest

from controller.job.pauses import PODS_GONE_POLL, PODS_GONE_POLL_LONGEST
from controller.kinds import FINE_TUNE_JOBS, RAY_CLUSTERS, RAY_JOBS
from controller.runtime.errors import Conflict
from controller.runtime.resources import CONFIG_MAPS, PODS, Resource
from tests.controller.job.builders import NOW, attempt
from tests.controller.job.world import KEY, World
from tests.fakes import CREATED


@pytest.mark.parametrize(
    ("kind", "role"),
    [(PODS, "head"), (RAY_CLUSTERS, None), (RAY_JOBS, None)],
    ids=["pod", "RayCluster", "RayJob"],
)
async def test_an_attempt_is_not_created_beside_what_the_server_still_has_of_the_one_before(kind: Resource, role: str | None) -> None:
    world = World()
    world.set_status(attempt(1, outcome="Failed", reason="SubmissionFailed", end_time=NOW), attempt(2, start_time=None))
    world.catch_up()
    if kind == RAY_JOBS:
        world.put_ray_job(1)
    else:
        world.put_child(kind, "bot-1", 1, role)  # and no watch reports it
    assert await world.reconciler.reconcile(KEY) == PODS_GONE_POLL.total_seconds()
    assert "bot-2" not in world.ray_jobs()
    assert world.condition("Running")["reason"] == "Retrying"
    assert "two writers would corrupt the output" in world.condition("Running")["message"]

    if world.api.objects(kind):
        world.api.remove(kind, "team", "bot-1")
    await world.step()
    assert world.ray_jobs() == ["bot-2"]


async def test_what_stays_for_long_is_asked_after_less_often_and_no_less_than_every_minute() -> None:
    world = World()
    world.put_child(PODS, "left", 1, "head")
    pauses = []
    for minutes in (0, 5, 600):
        world.set_status(attempt(1, outcome="Failed", end_time=NOW - timedelta(minutes=minutes)), attempt(2, start_time=None))
        pauses.append(await world.step())
    assert pauses == [PODS_GONE_POLL.total_seconds(), 30.0, PODS_GONE_POLL_LONGEST.total_seconds()]


async def test_a_submitter_that_is_left_writes_nothing_and_holds_nothing_up() -> None:
    world = World()
    world.set_status(attempt(1, outcome="Failed", end_time=NOW), attempt(2, start_time=None))
    world.put_child(PODS, "left", 1, "submitter")
    await world.step()
    assert world.ray_jobs() == ["bot-2"]


async def test_what_an_attempt_itself_has_already_does_not_hold_it_up() -> None:
    world = World()
    world.set_status(attempt(1, start_time=None))
    world.catch_up()
    world.put_ray_job(1)
    world.put_child(PODS, "bot-1-head", 1, "head")
    world.put_child(RAY_CLUSTERS, "bot-1-x7k2p", 1)
    await world.reconciler.reconcile(KEY)
    assert world.condition("Running")["reason"] == "TrainerRunning"


@pytest.mark.parametrize("seen", [True, False], ids=["the caches know", "no watch reports it"])
async def test_a_ray_job_that_is_deleted_before_it_was_seen_costs_no_attempt_and_is_created_again_once_all_of_it_is_gone(
    seen: bool,
) -> None:
    world = World()
    await world.step()
    world.catch_up()
    world.put_ray_job(1, "", "Initializing")
    world.edit(RAY_JOBS, "bot-1", deletionTimestamp=CREATED)
    for _ in range(3):
        if seen:
            world.catch_up()
        assert await world.reconciler.reconcile(KEY) == PODS_GONE_POLL.total_seconds()
        assert world.status["attempts"] == [{"number": 1, "rayJobName": "bot-1"}]
        assert "bot-1, which is being deleted" in world.condition("Running")["message"]
        world.catch_up()
    world.api.remove(RAY_JOBS, "team", "bot-1")
    world.put_child(PODS, "bot-1-head", 1, "head")
    await world.step()
    assert world.ray_jobs() == []
    world.api.remove(PODS, "team", "bot-1-head")
    await world.step()
    assert world.ray_jobs() == ["bot-1"]
    await world.step()
    assert [(each["number"], each.get("outcome")) for each in world.status["attempts"]] == [(1, None)]


@pytest.mark.parametrize(("kind", "name"), [(RAY_JOBS, "bot-1"), (CONFIG_MAPS, "bot-1-progress-0123abcd")], ids=["RayJob", "progress"])
async def test_a_child_that_is_being_deleted_while_it_is_to_be_created_is_waited_for(kind: Resource, name: str) -> None:
    world = World()
    await world.step()
    world.restart()  # a process that has begun the attempt itself looks at everything again

    def delete_beside(item: dict[str, Any]) -> None:
        if item["metadata"]["name"] == "bot-1-config":
            world.put_child(kind, name, 1)
            world.edit(kind, name, deletionTimestamp=CREATED)

    world.api.admission = delete_beside
    assert await world.step()
    assert f"{name} is still being deleted" in world.condition("Running")["message"]
    assert world.status["attempts"] == [{"number": 1, "rayJobName": "bot-1"}]
    world.api.remove(kind, "team", name)
    world.now += timedelta(minutes=5)
    await world.step()
    assert world.ray_jobs() == ["bot-1"]
    assert world.condition("Running")["reason"] == "Starting"


async def test_a_ray_job_that_is_created_late_beside_a_newer_attempt_is_deleted() -> None:
    world = World()
    world.set_status(attempt(1, outcome="Suspended", start_time=None, end_time=NOW), attempt(2))
    world.put_ray_job(2)
    world.put_ray_job(1, "", "Initializing")
    await world.step()
    assert world.ray_jobs() == ["bot-2"]


@pytest.mark.parametrize("resumed", [False, True], ids=["while the job is suspended", "once it is resumed"])
async def test_a_ray_job_that_was_created_unseen_before_its_attempt_was_suspended_is_deleted(resumed: bool) -> None:
    world = World(runPolicy={"suspend": not resumed})
    world.set_status(attempt(1, outcome="Suspended", start_time=None, end_time=NOW))
    world.catch_up()
    world.put_ray_job(1, "", "Initializing")  # and no watch reports it
    await world.reconciler.reconcile(KEY)
    assert world.ray_jobs() == []
    assert [each["number"] for each in world.status["attempts"]] == [1]


async def test_a_leader_whose_view_of_the_job_is_older_than_its_view_of_ray_jobs_deletes_and_creates_nothing() -> None:
    world = World()
    world.set_status(attempt(1, outcome="Failed", end_time=NOW - timedelta(minutes=5)))
    world.catch_up()
    world.set_status(attempt(1, outcome="Failed", end_time=NOW - timedelta(minutes=5)), attempt(2))
    world.put_ray_job(2)
    world.stores.ray_jobs.replace(world.api.objects(RAY_JOBS))
    with pytest.raises(Conflict):
        await world.reconciler.reconcile(KEY)
    assert world.writes() == []
    await world.step()
    assert world.ray_jobs() == ["bot-2"]
    assert "outcome" not in world.status["attempts"][1]


@pytest.mark.parametrize("uid", [None, "of-another"], ids=["changed", "replaced"])
async def test_no_action_follows_from_an_old_version_of_the_job(uid: str | None) -> None:
    world = World()
    world.set_status(attempt(1, start_time=None))
    world.catch_up()
    job = world.api.objects(FINE_TUNE_JOBS)[0]
    if uid is None:
        world.set_status(attempt(1, outcome="Suspended"), attempt(2))
    else:
        world.api.remove(FINE_TUNE_JOBS, "team", "bot")
        world.api.put(FINE_TUNE_JOBS, {**job, "metadata": {**job["metadata"], "uid": uid}})
    with pytest.raises(Conflict):
        await world.reconciler.reconcile(KEY)
    assert world.writes() == []


async def test_nothing_is_done_for_a_job_that_was_deleted_meanwhile() -> None:
    world = World()
    world.set_status(attempt(1, start_time=None))
    world.catch_up()
    world.api.remove(FINE_TUNE_JOBS, "team", "bot")
    assert await world.reconciler.reconcile(KEY) is None
    assert world.writes() == []
