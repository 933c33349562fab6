"""What is refused costs one request a try, less and less often, and the job starts soon after the cause has gone."""

from datetime import timedelta
from typing import Any

import pytest

from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.errors import Unreachable
from controller.runtime.resources import CONFIG_MAPS, SERVICE_ACCOUNTS, Resource
from controller.runtime.store import StoreState
from controller.runtime.transport import Response
from tests.controller.job.builders import UID
from tests.controller.job.refused import BROKEN, GONE, POLICY, QUOTA, WEBHOOK, refused, requests_of, started
from tests.controller.job.world import World
from tests.fakes import CREATED


def foreign(kind: Resource, name: str, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team", "uid": f"uid-of-{name}", "creationTimestamp": CREATED, "labels": labels}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


@pytest.mark.parametrize("answer", [QUOTA, POLICY, WEBHOOK], ids=["quota", "policy", "webhook"])
async def test_a_refusal_is_asked_again_with_one_dry_run_a_try_and_seldom(answer: Response) -> None:
    world = await refused(answer)
    sent = await requests_of(world, 1800)

    assert {(request.method, request.path, request.query.get("dryRun")) for request in sent} == {
        ("POST", "/apis/ray.io/v1/namespaces/team/rayjobs", "All")
    }
    assert 13 <= len(sent) <= 45
    assert not started(world)


@pytest.mark.parametrize(
    ("answer", "bound_seconds"),
    [(QUOTA, 151), (POLICY, 76), (WEBHOOK, 76), (BROKEN, 76), (GONE, 76)],
    ids=["quota", "policy", "webhook", "broken", "gone"],
)
async def test_a_job_starts_within_the_bound_when_the_refusal_goes_without_a_sign(answer: Response, bound_seconds: float) -> None:
    world = await refused(answer)
    await requests_of(world, 1200)
    world.api.heal()
    await requests_of(world, bound_seconds)
    assert started(world)


@pytest.mark.parametrize(("kind", "name"), [(CONFIG_MAPS, "bot-1-config"), (SERVICE_ACCOUNTS, "bot-1"), (RAY_JOBS, "bot-1")], ids=str)
async def test_a_name_that_is_taken_is_looked_at_by_metadata_alone_and_seldom(kind: Resource, name: str) -> None:
    world = World()
    world.api.put(kind, foreign(kind, name))
    await world.step()
    await world.step()
    sent = await requests_of(world, 1800)

    assert {(request.method, request.path.rsplit("/", 1)[-1]) for request in sent} == {("GET", name)}
    assert all("PartialObjectMetadata" in request.accept for request in sent)
    assert 10 <= len(sent) <= 30
    assert world.condition("Running")["reason"] == "NameTaken"

    world.api.remove(kind, "team", name)
    await requests_of(world, 151)
    assert started(world)


async def test_the_going_of_a_child_of_a_deleted_job_that_is_watched_starts_the_job_at_once() -> None:
    world = World()
    world.api.put(RAY_JOBS, foreign(RAY_JOBS, "bot-1", **{"finetune.dev/job": "bot"}))
    await world.step()
    await world.step()
    world.now += timedelta(seconds=1)
    world.api.remove(RAY_JOBS, "team", "bot-1")
    await requests_of(world, 3)
    assert started(world)


@pytest.mark.parametrize("seconds", [0, 40], ids=["before it is reported", "reported"])
async def test_a_creation_that_timed_out_and_succeeded_is_not_waited_for_once_its_ray_job_is_seen(seconds: float) -> None:
    world = await refused(Response(504, b'{"kind":"Status","message":"request did not complete within requested timeout"}'))
    await requests_of(world, seconds)
    world.put_ray_job(1)
    await world.step()
    assert world.condition("Running")["status"] == "True"


async def test_a_ray_job_of_another_job_ends_no_wait() -> None:
    world = await refused(BROKEN)
    await requests_of(world, 40)
    before = len(world.api.requests)
    world.api.put(RAY_JOBS, foreign(RAY_JOBS, "bot-1", **{"finetune.dev/job": "bot", "finetune.dev/attempt": "1"}))
    assert (await world.step() or 0) > 1
    assert len(world.api.requests) == before


async def test_a_definition_that_vanishes_while_a_job_is_created_is_reported_and_the_job_starts_as_soon_as_it_returns() -> None:
    world = await refused(GONE)
    await requests_of(world, 40)
    assert "could not find the requested resource" in world.condition("Running")["message"]
    world.catch_up()
    world.stores.ray_jobs.state = StoreState.ABSENT
    await world.reconciler.reconcile("team/bot")
    assert world.condition("Accepted")["reason"] == "KubeRayMissing"
    world.api.heal()
    world.catch_up()  # the definition is served again
    await world.step()
    assert started(world)


async def test_status_says_why_a_job_waits_since_when_and_what_lets_it_start() -> None:
    world = await refused(POLICY)
    first = world.condition("Running")
    assert (first["status"], first["reason"], world.status["phase"]) == ("False", "CreationFailed", "Waiting")
    assert "not on Fridays" in first["message"]
    assert "(since 2026-03-01 12:00:00 UTC; tried again within 83 s; the job starts by itself" in first["message"]

    await requests_of(world, 1200)
    assert world.condition("Running") == first
    assert world.log.events.count(("Normal", "CreationFailed")) == 1


async def test_another_process_reports_the_same_time_since_when_a_job_waits() -> None:
    world = await refused(QUOTA)
    world.now += timedelta(minutes=7)
    world.restart()
    await world.step()
    assert "(since 2026-03-01 12:00:00 UTC;" in world.condition("Running")["message"]


async def test_a_server_error_that_persists_is_reported_and_one_that_passes_is_not() -> None:
    world = await refused(BROKEN)
    assert world.condition("Running")["reason"] == "Starting"
    await requests_of(world, 30)
    assert world.condition("Running")["reason"] == "CreationFailed"
    assert "failed calling webhook" in world.condition("Running")["message"]


@pytest.mark.parametrize("change", ["suspended", "deleted", "replaced"])
async def test_a_change_of_the_job_is_not_kept_waiting(change: str) -> None:
    world = await refused(QUOTA)
    await requests_of(world, 900)
    job = world.api.objects(FINE_TUNE_JOBS)[0]
    metadata = {**job["metadata"], "generation": 2}
    if change == "deleted":
        metadata["deletionTimestamp"] = CREATED
    if change == "replaced":
        world.api.remove(FINE_TUNE_JOBS, "team", "bot")
        metadata = {**metadata, "uid": UID[::-1], "generation": 1}
    spec = {**job["spec"], "runPolicy": {"suspend": change == "suspended"}}
    world.api.put(FINE_TUNE_JOBS, {**job, "metadata": metadata, "spec": spec})
    before = len(world.api.requests)
    pause = await world.step()
    if change == "suspended":
        assert world.condition("Suspended")["status"] == "True"
    elif change == "deleted":
        assert pause is None
    else:
        assert len(world.api.requests) > before


async def test_a_webhook_that_does_not_support_dry_runs_is_asked_in_earnest() -> None:
    world = await refused(WEBHOOK)
    world.api.heal()
    answer = b'{"kind":"Status","reason":"BadRequest","message":"admission webhook w does not support dry run"}'
    world.api.fail(Response(400, answer), method="POST", query="dryRun", times=1000)
    await requests_of(world, 10)
    assert started(world)


async def test_an_outage_while_asking_is_left_to_the_queue() -> None:
    world = await refused(WEBHOOK)
    world.api.heal()
    world.api.fail(Unreachable("down"), method="POST")
    world.now += timedelta(seconds=10)
    with pytest.raises(Unreachable):
        await world.step()
    await world.step()
    assert started(world)


async def test_a_small_object_that_a_timed_out_creation_stored_is_waited_for_no_longer_than_until_it_is_seen() -> None:
    world = await refused(Response(504, b'{"kind":"Status","message":"request did not complete"}'), path="configmaps")
    await requests_of(world, 300)
    world.api.heal()
    world.put_child(CONFIG_MAPS, "bot-1-config", 1)
    await world.step()
    assert started(world)
