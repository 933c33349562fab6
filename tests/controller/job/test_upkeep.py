"""What is done about objects that somebody took or altered while an attempt reports with them, and what is said of it."""

from datetime import timedelta
from typing import Any

import pytest

from controller.job import names
from controller.job.objects.pods import head_template
from controller.kinds import FINE_TUNE_JOBS
from controller.runtime.resources import CONFIG_MAPS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS
from tests.controller.job.builders import UID, Settings, job, record_text
from tests.controller.job.running import PROGRESS, found, reporting, running_world
from tests.controller.job.world import World
from tests.fakes import CREATED

DRIVERS_TRICKS = {
    "finalizer": {"finalizers": ["example.com/mine"]},
    "no owner": {"ownerReferences": []},
    "no labels": {"labels": {}},
    "labels of another job": {"labels": {"finetune.dev/job": "other", "finetune.dev/job-uid": "x"}},
    "all of it": {"finalizers": ["example.com/mine"], "ownerReferences": [], "labels": {}},
}


async def test_an_object_of_somebody_else_with_our_name_is_reported_and_never_touched() -> None:
    world = await running_world()
    world.api.remove(ROLE_BINDINGS, "team", "bot-1")
    owner = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "other"}]
    theirs = {"metadata": {"name": "bot-1", "namespace": "team", "ownerReferences": owner, "labels": names.labels("bot", UID, 1)}}
    world.api.put(ROLE_BINDINGS, theirs)
    await world.step()
    assert reporting(world) == ("False", "NameTaken")
    assert "RoleBinding bot-1" in world.condition("Reporting")["message"]
    assert (found(world, ROLE_BINDINGS, "bot-1") or {})["metadata"]["ownerReferences"] == owner
    assert world.condition("Running")["status"] == "True"

    world.api.remove(ROLE_BINDINGS, "team", "bot-1")
    await world.step()
    await world.step()
    assert reporting(world) == ("True", "DeletedAndRestored")


async def test_an_account_that_was_made_again_is_said_to_need_a_new_token_which_comes_within_minutes() -> None:
    world = await running_world()
    world.api.remove(SERVICE_ACCOUNTS, "team", "bot-1")
    await world.step()
    assert "until it is renewed, within 10 minutes" in world.condition("Reporting")["message"]
    volumes = head_template(job(), 1, Settings())["spec"]["volumes"]
    [source] = [
        source for volume in volumes for source in volume.get("projected", {}).get("sources", []) if "serviceAccountToken" in source
    ]
    assert source["serviceAccountToken"]["expirationSeconds"] == 10 * 60

    world = await running_world()
    world.api.remove(ROLES, "team", "bot-1")
    await world.step()
    assert "token" not in world.condition("Reporting")["message"]


async def test_a_progress_config_map_that_was_put_right_is_said_to_be() -> None:
    world = await running_world()
    world.edit(CONFIG_MAPS, PROGRESS, finalizers=["example.com/mine"])
    await world.step()
    assert reporting(world) == ("True", "ProgressAltered")
    world.edit(CONFIG_MAPS, PROGRESS, finalizers=[])
    await world.step()
    assert reporting(world) == ("True", "Reporting")
    written = len(world.writes())
    await world.step()
    assert len(world.writes()) == written


@pytest.mark.parametrize("trick", DRIVERS_TRICKS.values(), ids=DRIVERS_TRICKS.keys())
async def test_a_progress_config_map_that_the_trainer_altered_is_read_and_reported_and_deleted_with_its_job(trick: dict[str, Any]) -> None:
    world = await running_world()
    data = {"record.json": record_text(sequence=3)}
    world.put_child(CONFIG_MAPS, PROGRESS, 1, data=data)
    world.edit(CONFIG_MAPS, PROGRESS, **trick)
    await world.step()
    assert reporting(world) == ("True", "ProgressAltered")
    assert world.status["progress"]["step"] == 20

    world.put_ray_job(1, "SUCCEEDED", "Complete")
    await world.step()
    assert world.status["phase"] == "Succeeded"
    assert lets_go(world)

    # A trainer whose pods are not gone yet does it again, and the job is deleted.
    world.edit(CONFIG_MAPS, PROGRESS, **trick)
    job = world.api.objects(FINE_TUNE_JOBS)[0]
    world.api.put(FINE_TUNE_JOBS, {**job, "metadata": {**job["metadata"], "deletionTimestamp": CREATED}})
    await world.step()
    assert lets_go(world)
    written = len(world.writes())
    await world.step()
    assert len(world.writes()) == written


def lets_go(world: World) -> bool:
    """Whether the progress ConfigMap goes when its job goes."""
    metadata = (found(world, CONFIG_MAPS, PROGRESS) or {})["metadata"]
    return not metadata.get("finalizers") and [owner["uid"] for owner in metadata["ownerReferences"]] == [UID]


async def test_an_immutable_progress_config_map_is_reported_and_the_job_ends_as_it_would() -> None:
    world = await running_world()
    world.put_child(CONFIG_MAPS, PROGRESS, 1, data={"record.json": record_text()}, immutable=True)
    await world.step()
    assert reporting(world) == ("False", "ProgressImmutable")
    world.put_ray_job(1, "FAILED", "Failed")
    await world.step()
    assert world.status["attempts"][0]["outcome"] == "Failed"
    world.now += timedelta(minutes=1)
    for _ in range(3):
        await world.step()
    assert found(world, CONFIG_MAPS, "bot-2-progress-0123abcd") is not None
    assert "bot-2" in world.ray_jobs()
