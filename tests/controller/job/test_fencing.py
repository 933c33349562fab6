"""Attempts of a job never write at once, whatever caches tell."""

from datetime import timedelta
from typing import Any

import pytest

from controller.job.policies import PODS_GONE_POLL_LAST_SECONDS, PODS_GONE_POLL_SECONDS
from controller.runtime.errors import Conflict
from controller.runtime.resources import PODS, Resource
from controller.stores import FINE_TUNE_JOBS, RAY_CLUSTERS, RAY_JOBS
from tests.controller.job.builders import NOW, attempt
from tests.controller.job.world import KEY, World


@pytest.mark.parametrize(
    ("kind", "role", "content"),
    [
        (PODS, "head", {}),
        (RAY_CLUSTERS, None, {}),
        (RAY_JOBS, None, {"status": {"jobStatus": "RUNNING", "jobDeploymentStatus": "Running"}}),
    ],
    ids=["pod", "RayCluster", "RayJob"],
)
async def test_an_attempt_is_not_created_beside_what_the_server_still_has_of_the_one_before(
    kind: Resource, role: str | None, content: dict[str, Any]
) -> None:
    world = World()
    world.set_status(attempt(1, outcome="Failed", reason="SubmissionFailed", end_time=NOW), attempt(2, start_time=None))
    world.catch_up()
    world.put_child(kind, "left", 1, role, **content)  # and no watch tells
    assert await world.reconciler.reconcile(KEY) == PODS_GONE_POLL_SECONDS
    assert "bot-2" not in world.ray_jobs()
    assert world.condition("Running")["reason"] == "Retrying"
    assert "two writers would spoil the output" in world.condition("Running")["message"]

    if world.api.objects(kind):
        world.api.remove(kind, "team", "left")
    await world.step()
    assert world.ray_jobs() == ["bot-2"]


async def test_what_stays_for_long_is_asked_after_less_often_and_no_less_than_every_minute() -> None:
    world = World()
    world.put_child(PODS, "left", 1, "head")
    pauses = []
    for minutes in (0, 5, 600):
        world.set_status(attempt(1, outcome="Failed", end_time=NOW - timedelta(minutes=minutes)), attempt(2, start_time=None))
        pauses.append(await world.step())
    assert pauses == [PODS_GONE_POLL_SECONDS, 30.0, PODS_GONE_POLL_LAST_SECONDS]


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


async def test_a_ray_job_that_is_created_late_beside_a_newer_attempt_is_deleted() -> None:
    world = World()
    world.set_status(attempt(1, outcome="Suspended", start_time=None, end_time=NOW), attempt(2))
    world.put_ray_job(2)
    world.put_ray_job(1, "", "Initializing")
    await world.step()
    assert world.ray_jobs() == ["bot-2"]


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


@pytest.mark.parametrize("uid", [None, "of-another"], ids=["changed", "made anew"])
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
