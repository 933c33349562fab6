"""A RayJob that lost what its safety depends on is not left running, over an API server in memory."""

from datetime import timedelta
from typing import Any

import pytest

from controller.job.hindrance import Kind
from controller.job.objects.rayjob import ray_job
from controller.kinds import RAY_JOBS
from controller.runtime.errors import KubeError, ServerError, Unreachable
from controller.runtime.resources import CONFIG_MAPS
from controller.runtime.transport import Response
from tests.controller.job.builders import Settings, attempt, job
from tests.controller.job.world import World
from tests.fakes import CREATED

pytestmark = pytest.mark.fault

SENT = ray_job(job(), 1, Settings(), {})
CLUSTER = "spec.rayClusterSpec"


def forget_auth(item: dict[str, Any]) -> object:
    return item["spec"].get("rayClusterSpec", {}).pop("authOptions", None) if "spec" in item else None


def does_not_know_auth(item: dict[str, Any]) -> list[str]:
    return [f"{CLUSTER}.authOptions"] if item["kind"] == "RayJob" else []


@pytest.mark.parametrize("how", ["an older definition", "a webhook"])
async def test_a_ray_job_that_would_run_without_its_token_is_not_left_and_the_job_says_what_to_do(how: str) -> None:
    world = World()
    if how == "a webhook":
        world.api.admission = forget_auth
    else:
        world.api.unknown_fields = does_not_know_auth
    await world.step()
    wait = await world.step()
    assert wait is not None
    assert Kind.UNSAFE.first_seconds / 2 <= wait <= 2 * Kind.UNSAFE.first_seconds
    assert world.ray_jobs() == []
    running = world.condition("Running")
    assert (running["status"], running["reason"]) == ("False", "KubeRayUnsafe")
    assert f"does not keep {CLUSTER}.authOptions" in running["message"]
    assert "KubeRay 1.6" in running["message"]
    assert world.status["phase"] == "Waiting"
    assert ("Warning", "KubeRayUnsafe") in world.log.events
    before = len(world.writes())
    await world.step()
    assert world.writes()[before:] == []

    world.api.admission, world.api.unknown_fields = lambda item: None, lambda item: []
    world.now += timedelta(seconds=wait + 1)
    await world.step()
    assert world.ray_jobs() == ["bot-1"]


async def test_while_the_definition_is_old_one_request_a_try_asks_again() -> None:
    world = World()
    world.api.unknown_fields = does_not_know_auth
    await world.step()
    wait = await world.step() or 0
    asked = len(world.api.requests)
    world.now += timedelta(seconds=wait + 1)
    assert await world.step()
    assert [(r.method, r.query.get("dryRun"), r.query.get("fieldValidation")) for r in world.api.requests[asked:]] == [
        ("POST", "All", "Strict")
    ]
    assert world.condition("Running")["reason"] == "KubeRayUnsafe"


def put_unsafe(world: World, attempt: int = 1) -> None:
    """Let a RayJob of an attempt stand that came without its token."""
    world.put_ray_job(attempt)
    stored = next(item for item in world.api.objects(RAY_JOBS) if item["metadata"]["name"] == f"bot-{attempt}")
    forget_auth(stored)


def running_said(world: World) -> tuple[str, str]:
    running = world.condition("Running")
    return running["status"], running["reason"]


@pytest.mark.parametrize(
    "failure", [Response(403, b'{"kind":"Status","message":"a policy says no"}'), Unreachable("no answer")], ids=["refused", "unreachable"]
)
async def test_an_unsafe_ray_job_that_could_not_be_deleted_at_once_never_counts_as_running_and_is_deleted_later(
    failure: Response | Exception,
) -> None:
    world = World()
    await world.step()
    world.api.admission = forget_auth
    world.api.fail(failure, method="DELETE", path="rayjobs", times=4)
    for _ in range(4):
        with pytest.raises(KubeError):
            await world.step()
        assert world.ray_jobs() == ["bot-1"]
        assert "startTime" not in world.status["attempts"][0]
    assert running_said(world) == ("False", "KubeRayUnsafe")
    assert f"does not keep {CLUSTER}.authOptions" in world.condition("Running")["message"]
    if isinstance(failure, Response):
        assert "could not be deleted: " in world.condition("Running")["message"]
        assert "a policy says no" in world.condition("Running")["message"]
    await world.step()
    assert world.ray_jobs() == []
    await world.step()
    assert running_said(world) == ("False", "KubeRayUnsafe")
    assert world.ray_jobs() == []
    assert [each["number"] for each in world.status["attempts"]] == [1]


@pytest.mark.parametrize("labels", [True, False], ids=["seen by the watch", "without its label"])
async def test_an_unsafe_ray_job_whose_creation_was_never_answered_is_deleted(labels: bool) -> None:
    world = World()
    await world.step()
    put_unsafe(world)
    if not labels:
        world.edit(RAY_JOBS, "bot-1", labels={})
    await world.step()
    assert world.ray_jobs() == []
    assert running_said(world) == ("False", "KubeRayUnsafe")
    assert world.status["attempts"] == [{"number": 1, "rayJobName": "bot-1"}]
    await world.step()
    assert world.ray_jobs() == ["bot-1"]
    assert running_said(world) == ("False", "Starting")


async def test_an_unsafe_ray_job_that_comes_while_the_job_waits_to_ask_again_is_deleted_without_waiting() -> None:
    world = World()
    await world.step()
    for _ in range(5):
        world.api.fail(Response(504, b"{}"), method="POST", path="rayjobs", times=2)
        wait = await world.step() or 0
        world.api.heal()
        put_unsafe(world)
        assert await world.step()
        assert world.ray_jobs() == []
        world.now += timedelta(seconds=wait)


async def test_an_unsafe_ray_job_that_is_slow_to_go_is_not_followed_by_the_next_at_once() -> None:
    world = World()
    world.api.admission = forget_auth
    await world.step()
    wait = await world.step() or 0
    put_unsafe(world)
    world.edit(RAY_JOBS, "bot-1", deletionTimestamp=CREATED)
    written = len(world.writes())
    for _ in range(3):
        assert 0 < (await world.step() or 0) <= wait
    world.now += timedelta(seconds=wait + 1)
    await world.step()  # it is still there when its time comes
    world.api.remove(RAY_JOBS, "team", "bot-1")
    await world.step()
    posted = [write for write in world.writes()[written:] if write == "POST rayjobs"]
    assert len(posted) <= 2  # a dry run and a creation
    wait = await world.step() or 0
    assert wait > Kind.UNSAFE.first_seconds
    assert [write for write in world.writes()[written:] if write == "POST rayjobs"] == posted


async def test_a_ray_job_that_is_there_already_is_read_before_it_is_taken_for_the_attempts() -> None:
    world = World()
    await world.step()

    def create_beside(item: dict[str, Any]) -> None:
        if item["kind"] == "RoleBinding":
            put_unsafe(world)

    world.api.admission = create_beside
    await world.step()
    assert world.ray_jobs() == []
    assert running_said(world) == ("False", "KubeRayUnsafe")


async def test_an_attempt_whose_ray_job_loses_its_safety_while_it_runs_ends_uncharged_before_its_ray_job_goes() -> None:
    world = World()
    world.set_status(attempt(1))
    put_unsafe(world)
    await world.step()
    assert (world.status["attempts"][0]["outcome"], world.status["attempts"][0]["reason"]) == ("Interrupted", "KubeRayUnsafe")
    assert world.ray_jobs() == ["bot-1"]
    world.api.remove(CONFIG_MAPS, "team", "rows")  # what a new attempt needs concerns this one no more
    world.api.fail(Response(500, b"{}"), method="DELETE", path="rayjobs")
    with pytest.raises(ServerError):
        await world.step()
    await world.step()
    assert world.ray_jobs() == []
    assert running_said(world) == ("False", "KubeRayUnsafe")


async def test_a_job_that_has_ended_safely_or_not_keeps_its_end() -> None:
    world = World()
    world.set_status(attempt(1))
    put_unsafe(world)
    stored = world.api.objects(RAY_JOBS)[0]
    world.api.put(RAY_JOBS, {**stored, "status": {"jobStatus": "SUCCEEDED", "jobDeploymentStatus": "Complete"}})
    await world.step()
    assert world.status["phase"] == "Succeeded"
