"""What one action sends to the server, and what it makes of the answer."""

import pytest

from controller.job.actions import Actions
from controller.job.names import progress_name
from controller.job.situation import AskToStop, RestoreSupports
from controller.kinds import RAY_JOBS
from controller.runtime.client import Client
from controller.runtime.errors import Conflict
from controller.runtime.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS
from controller.runtime.transport import Response
from tests.controller.job.builders import UID, Settings, job, observed
from tests.controller.job.world import KEY, World
from tests.fakes import CREATED


@pytest.mark.parametrize(("mode", "together"), [("ReadWriteOnce", True), ("ReadWriteMany", False)])
async def test_pods_share_a_node_where_the_claim_as_the_server_has_it_demands_it(mode: str, together: bool) -> None:
    world = World()
    claim = {"metadata": {"name": "models", "namespace": "team"}, "spec": {"accessModes": [mode]}}
    world.api.put(PERSISTENT_VOLUME_CLAIMS, claim)
    await world.step()
    await world.step()
    cluster = world.api.objects(RAY_JOBS)[0]["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], cluster["workerGroupSpecs"][0]):
        assert ("affinity" in group["template"]["spec"]) is together


async def test_every_child_is_owned_by_the_job_and_carries_its_labels() -> None:
    world = World()
    await world.step()
    await world.step()
    for kind in (CONFIG_MAPS, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS, RAY_JOBS):
        for child in world.api.objects(kind):
            if child["metadata"]["name"] == "rows":
                continue
            assert child["metadata"]["ownerReferences"][0]["uid"] == UID
            assert child["metadata"]["labels"] == {"finetune.dev/job": "bot", "finetune.dev/job-uid": UID, "finetune.dev/attempt": "1"}


async def test_children_that_are_there_already_and_ours_are_success() -> None:
    world = World()
    await world.step()
    await world.step()
    await world.reconciler.reconcile(KEY)  # the caches have not seen the children yet
    assert len(world.api.objects(RAY_JOBS)) == 1
    assert world.condition("Running")["reason"] == "Starting"


async def test_a_name_that_somebody_else_has_is_reported_and_waited_for() -> None:
    world = World()
    foreign = {
        "metadata": {"name": "bot-1", "namespace": "team", "uid": "x", "creationTimestamp": CREATED, "labels": {"finetune.dev/job": "bot"}}
    }
    world.api.put(RAY_JOBS, foreign)
    await world.step()
    assert await world.step()
    running = world.condition("Running")
    assert running["reason"] == "NameTaken"
    assert "RayJob bot-1 exists and is not this job's" in running["message"]


async def test_a_child_that_goes_while_it_is_looked_at_is_created_in_the_next_pass() -> None:
    world = World()
    await world.step()
    before = world.status
    world.restart()  # a process that has begun the attempt itself looks at everything again
    world.api.fail(Response(409, b'{"kind":"Status","reason":"AlreadyExists"}'), method="POST", path="rayjobs")
    with pytest.raises(Conflict):
        await world.step()
    assert world.status == before
    await world.step()
    assert world.ray_jobs() == ["bot-1"]


async def suspended_world() -> World:
    """A job whose suspension is in status, and whose RayJob is still there."""
    world = World()
    for _ in range(3):
        await world.step()
    world.change_job({"runPolicy": {"suspend": True}})
    await world.step()
    assert world.status["attempts"][0]["outcome"] == "Suspended"
    assert world.ray_jobs() == ["bot-1"]
    return world


async def test_suspending_deletes_the_ray_job() -> None:
    world = await suspended_world()
    await world.step()
    assert world.ray_jobs() == []


async def test_a_ray_job_that_replaced_the_observed_one_meanwhile_is_not_deleted_in_its_place() -> None:
    world = await suspended_world()
    world.catch_up()
    world.api.remove(RAY_JOBS, "team", "bot-1")
    world.put_ray_job(1)
    [new] = world.api.objects(RAY_JOBS)
    with pytest.raises(Conflict):
        await world.reconciler.reconcile(KEY)
    assert world.api.objects(RAY_JOBS) == [new]


async def test_suspending_leaves_the_ray_job_of_another_job_alone() -> None:
    world = World()
    await world.step()
    world.api.put(RAY_JOBS, {"metadata": {"name": "bot-1", "namespace": "team", "uid": "x", "creationTimestamp": CREATED}})
    world.change_job({"runPolicy": {"suspend": True}})
    await world.step()
    await world.step()
    assert len(world.api.objects(RAY_JOBS)) == 1
    assert world.status["phase"] == "Suspended"


async def test_only_a_ray_job_is_created_strictly() -> None:
    world = World()
    await Client(world.api, field_manager="test").create(RAY_JOBS, {"metadata": {"name": "x", "namespace": "team"}}, strict=True)
    assert world.api.requests[-1].query["fieldValidation"] == "Strict"
    await world.step()
    await world.step()
    strict = {r.path.rsplit("/", 1)[-1] for r in world.api.requests if r.query.get("fieldValidation")}
    assert strict == {"rayjobs"}


async def test_the_request_to_stop_goes_to_the_progress_of_its_attempt_and_to_no_other_object() -> None:
    world = World()
    world.api.put(CONFIG_MAPS, {"metadata": {"name": progress_name("bot", UID, 2), "namespace": "team"}, "data": {"record.json": "{}"}})
    of = observed(job())
    for number in (1, 2):
        await Actions(Client(world.api, field_manager="test"), Settings()).carry_out(of, AskToStop(number, "bot-2-x7k2p"))
    [asked] = [each for each in world.api.objects(CONFIG_MAPS) if (each["metadata"].get("annotations") or {})]
    assert asked["metadata"]["annotations"] == {"finetune.dev/stop": "bot-2-x7k2p"}
    assert asked["data"] == {"record.json": "{}"}


async def test_an_action_that_nobody_knows_how_to_carry_out_is_not_skipped_in_silence() -> None:
    with pytest.raises(AssertionError):
        await Actions(World().client, Settings()).carry_out(observed(job()), RestoreSupports(1, ()))  # type: ignore[arg-type]
