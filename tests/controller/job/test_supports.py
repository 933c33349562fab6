"""The small objects of an attempt when somebody deletes, takes or alters them, over an API server in memory."""

from datetime import timedelta
from typing import Any

import pytest

from controller.job import names
from controller.job.pauses import UNWATCHED_POLL
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.errors import Conflict, NotLeading, Unreachable
from controller.runtime.resources import CONFIG_MAPS, ROLES, Resource
from controller.runtime.transport import Response
from tests.controller.job.builders import NOW
from tests.controller.job.running import PROGRESS, found, reporting, running_world
from tests.controller.job.world import KEY, OWNER, World
from tests.fakes import CREATED


async def test_nothing_is_made_again_or_asked_for_while_all_is_there() -> None:
    world = await running_world()
    written, asked = len(world.writes()), len(world.api.requests)
    await world.step()
    assert len(world.writes()) == written
    assert len(world.api.requests) == asked
    assert reporting(world) is None


async def test_a_cache_that_lags_behind_makes_nothing_again() -> None:
    world = await running_world()
    world.catch_up()
    for store in (world.stores.roles, world.stores.role_bindings, world.stores.service_accounts, world.stores.progress):
        store.replace([])
    written = len(world.writes())
    await world.reconciler.reconcile(KEY)
    assert len(world.writes()) == written


@pytest.mark.parametrize(
    ("kind", "name", "labels", "looks"),
    [
        (CONFIG_MAPS, PROGRESS, {}, True),
        (ROLES, "bot-1", {}, True),
        (CONFIG_MAPS, PROGRESS, {"finetune.dev/job": "other"}, False),
    ],
    ids=["progress", "role", "the label is there, and wrong"],
)
async def test_what_no_watch_reports_any_more_is_polled(kind: Resource, name: str, labels: dict[str, str], looks: bool) -> None:
    world = await running_world()
    world.edit(kind, name, labels=labels)
    assert await world.step() == (UNWATCHED_POLL.total_seconds() if looks else None)


async def test_a_record_that_was_blown_up_ends_nothing() -> None:
    world = await running_world()
    world.put_child(CONFIG_MAPS, PROGRESS, 1, data={"record.json": "x" * 2**20})
    await world.step()
    world.put_ray_job(1, "SUCCEEDED", "Complete")
    await world.step()
    assert world.status["phase"] == "Succeeded"


LEFT = {
    "metadata": {
        "name": "bot-1-progress-ffffffff",
        "namespace": "team",
        "finalizers": ["example.com/mine"],
        "labels": names.labels("bot", "ffffffff-1", 1),
    },
    "data": {},
}


async def test_what_a_deleted_job_of_the_same_name_left_behind_is_in_nobodys_way() -> None:
    world = World()
    world.api.put(CONFIG_MAPS, LEFT)
    await world.step()
    await world.step()
    assert world.ray_jobs() == ["bot-1"]
    assert (found(world, CONFIG_MAPS, "bot-1-progress-ffffffff") or {})["metadata"]["finalizers"] == ["example.com/mine"]


@pytest.mark.parametrize("there", [True, False], ids=["a job of that name is there", "it is gone"])
@pytest.mark.parametrize(
    ("metadata", "goes"),
    [
        ({"deletionTimestamp": CREATED}, True),
        ({"deletionTimestamp": CREATED, "labels": {}, "ownerReferences": [OWNER | {"uid": "ffffffff-1"}]}, False),
        ({"deletionTimestamp": CREATED, "labels": names.labels("bot", "eeeeeeee-1", 1)}, False),
        ({"deletionTimestamp": CREATED, "name": "rows"}, False),
        ({}, False),
    ],
    ids=[
        "being deleted",
        "without our label no cache has it",
        "not of the job that its label names",
        "not a progress",
        "not being deleted",
    ],
)
async def test_a_finalizer_of_the_trainers_does_not_hold_a_progress_that_is_being_deleted(
    there: bool, metadata: dict[str, Any], goes: bool
) -> None:
    world = World()
    item = {**LEFT, "metadata": {**LEFT["metadata"], **metadata}}
    world.api.put(CONFIG_MAPS, item)
    if not there:
        world.api.remove(FINE_TUNE_JOBS, "team", "bot")
    await world.step()
    left = found(world, CONFIG_MAPS, item["metadata"]["name"]) or {}
    assert ("finalizers" not in left["metadata"]) is goes


@pytest.mark.parametrize(
    "failure", [Response(403, b'{"kind":"Status","message":"no"}'), Unreachable("no answer")], ids=["refused", "unreachable"]
)
async def test_a_progress_of_an_earlier_job_that_cannot_be_let_go_holds_up_no_other_job(failure: Response | Exception) -> None:
    world = World()
    world.api.put(CONFIG_MAPS, {**LEFT, "metadata": {**LEFT["metadata"], "deletionTimestamp": CREATED}})
    world.api.fail(failure, method="PATCH", path="configmaps", times=9)
    for _ in range(3):
        await world.step()
    assert world.ray_jobs() == ["bot-1"]
    world.api.heal()
    await world.step()
    assert "finalizers" not in (found(world, CONFIG_MAPS, "bot-1-progress-ffffffff") or {})["metadata"]


async def test_the_progress_of_a_job_that_is_gone_is_let_go_later_where_that_is_refused() -> None:
    world = World()
    world.api.put(CONFIG_MAPS, {**LEFT, "metadata": {**LEFT["metadata"], "deletionTimestamp": CREATED}})
    world.api.remove(FINE_TUNE_JOBS, "team", "bot")
    world.api.fail(Response(403, b'{"kind":"Status","message":"no"}'), method="PATCH", path="configmaps")
    assert await world.step()
    assert await world.step() is None
    assert "finalizers" not in (found(world, CONFIG_MAPS, "bot-1-progress-ffffffff") or {})["metadata"]


async def test_a_controller_that_leads_no_more_stops_at_once() -> None:
    world = World()
    world.api.put(CONFIG_MAPS, {**LEFT, "metadata": {**LEFT["metadata"], "deletionTimestamp": CREATED}})
    world.api.fail(NotLeading("the lease is lost"), method="PATCH", path="configmaps")
    with pytest.raises(NotLeading):
        await world.step()
    assert world.status == {}


@pytest.mark.parametrize("ended", [False, True], ids=["being deleted", "let go at the end"])
async def test_a_progress_that_was_created_again_since_it_was_seen_is_not_touched(ended: bool) -> None:
    world = await running_world()
    world.edit(CONFIG_MAPS, PROGRESS, finalizers=["example.com/mine"], **({} if ended else {"deletionTimestamp": CREATED}))
    if ended:
        world.put_ray_job(1, "SUCCEEDED", "Complete")
    world.catch_up()
    old = found(world, CONFIG_MAPS, PROGRESS) or {}
    world.api.remove(CONFIG_MAPS, "team", PROGRESS)
    world.api.put(CONFIG_MAPS, {**old, "metadata": {**old["metadata"], "uid": "of another"}})
    if ended:
        with pytest.raises(Conflict):
            await world.reconciler.reconcile(KEY)
    else:
        await world.reconciler.reconcile(KEY)
    assert (found(world, CONFIG_MAPS, PROGRESS) or {})["metadata"]["finalizers"] == ["example.com/mine"]


@pytest.mark.parametrize("labels", [{}, {"finetune.dev/job": "other", "finetune.dev/attempt": "9"}], ids=["removed", "of another job"])
async def test_a_ray_job_whose_labels_were_changed_runs_on_and_is_seen_to_fail(labels: dict[str, str]) -> None:
    world = await running_world()
    world.edit(RAY_JOBS, "bot-1", labels=labels)
    look_again = await world.step()
    assert (look_again is None) is bool(labels)  # no watch reports one without the label
    assert world.ray_jobs() == ["bot-1"]
    assert world.condition("Running")["status"] == "True"

    ray_job = world.api.objects(RAY_JOBS)[0]
    world.api.put(RAY_JOBS, {**ray_job, "status": {**ray_job["status"], "jobStatus": "FAILED", "jobDeploymentStatus": "Failed"}})
    await world.step()
    assert (world.status["attempts"][0]["outcome"], world.status["attempts"][0]["reason"]) == ("Failed", "TrainerFailed")
    world.now = NOW + timedelta(minutes=5)
    for _ in range(3):
        await world.step()
    assert world.ray_jobs() == ["bot-1", "bot-2"]


async def test_a_ray_job_without_labels_is_deleted_when_its_job_is_suspended() -> None:
    world = await running_world()
    world.edit(RAY_JOBS, "bot-1", labels={})
    await world.step()
    world.change_job({"runPolicy": {"suspend": True}})
    await world.step()
    await world.step()
    assert world.ray_jobs() == []
