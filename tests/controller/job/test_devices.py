"""The template that a job's GPUs are claimed by: whether it is there, and whether it fits."""

from datetime import timedelta
from typing import Any

import pytest

from controller.job.devices import devices_in
from controller.kinds import RAY_JOBS
from controller.runtime.resources import RESOURCE_CLAIM_TEMPLATES
from finetune.api.conditions import Reason
from tests.controller.job.builders import Settings
from tests.controller.job.world import World

ONE = {"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}
"""As the API server stores a request for one device it also has the allocation mode and the count."""


def requests(*counts: int) -> list[dict[str, Any]]:
    exactly = {"deviceClassName": "gpu.example.com", "allocationMode": "ExactCount"}
    return [{"name": f"request-{index}", "exactly": {**exactly, "count": count}} for index, count in enumerate(counts)]


ALL = {"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com", "allocationMode": "All"}}
EITHER = {"name": "gpu", "firstAvailable": [{"name": "big", "deviceClassName": "gpu.example.com", "count": 1}]}


def world(setting: str | None = "gpus-{gpus}", gpus: int = 2, **sections: Any) -> World:
    world = World(resources={"gpus": gpus}, training={"epochs": 1, "globalBatchSize": 8}, **sections)
    world.restart(Settings(gpu_claim_template=setting))
    return world


def put(world: World, name: str, *requested: dict[str, Any]) -> None:
    devices = {"devices": {"requests": list(requested)}}
    world.api.put(RESOURCE_CLAIM_TEMPLATES, {"metadata": {"name": name, "namespace": "team"}, "spec": {"spec": devices}})


def asked(world: World) -> list[str]:
    return [request.path for request in world.api.requests if "resourceclaimtemplates" in request.path]


async def start(world: World) -> None:
    for _ in range(3):
        await world.step()


async def test_a_template_that_is_missing_is_named_and_its_coming_starts_the_job() -> None:
    bare = world()
    assert await bare.step() == 5
    accepted = bare.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", Reason.REFERENCE_MISSING)
    assert "resources.gpus: there is no ResourceClaimTemplate gpus-2 in namespace team" in accepted["message"]
    await start(bare)
    assert bare.ray_jobs() == []

    put(bare, "gpus-2", *requests(2))
    await start(bare)
    assert bare.ray_jobs() == ["bot-1"]
    assert bare.condition("Accepted")["status"] == "True"


async def test_it_is_missing_beside_what_else_is() -> None:
    bare = world()
    bare.change_job({"data": {"train": [{"configMap": {"name": "later", "key": "train.jsonl"}}]}})
    await bare.step()
    message = bare.condition("Accepted")["message"]
    assert "there is no ConfigMap later" in message
    assert "there is no ResourceClaimTemplate gpus-2" in message


async def test_a_cluster_that_has_no_such_templates_is_told_from_one_that_lacks_this() -> None:
    old = world()
    old.api.absent.add(str(RESOURCE_CLAIM_TEMPLATES))
    await old.step()
    message = old.condition("Accepted")["message"]
    assert "the cluster serves no ResourceClaimTemplates of resource.k8s.io/v1" in message
    assert "trainer.gpuClaimTemplate" in message


@pytest.mark.parametrize(
    ("requested", "total"),
    [
        (requests(2), None),
        (requests(1), 1),
        (requests(4), 4),
        ([ONE], 1),
        (requests(2, 1), None),
        (requests(1, 1), None),
        (requests(1, 0), 1),
        ([], 0),
        ([ALL], None),
        ([EITHER], None),
        ([*requests(1), ALL], None),
    ],
    ids=[
        "as many",
        "fewer",
        "more",
        "one by default",
        "and a network card",
        "in two parts",
        "two too few",
        "none",
        "all",
        "either",
        "some",
    ],
)
async def test_a_template_gives_a_worker_as_many_devices_as_it_counts(requested: list[dict[str, Any]], total: int | None) -> None:
    there = world(setting="gpus")
    put(there, "gpus", *requested)
    await start(there)
    assert (there.ray_jobs() == ["bot-1"]) is (total is None)
    if total is not None:
        message = there.condition("Accepted")["message"]
        assert f"a worker asks for 2, but the ResourceClaimTemplate gpus in namespace team is for {total};" in message
        assert ("ask for 0" in message, f"ask for {total}, in a new job" in message) == (False, total > 0)


@pytest.mark.parametrize(("setting", "gpus"), [(None, 2), ("gpus", 0)], ids=["by name", "no GPUs"])
async def test_where_nothing_is_claimed_no_template_is_asked_for(setting: str | None, gpus: int) -> None:
    plain = world(setting, gpus)
    await start(plain)
    assert plain.ray_jobs() == ["bot-1"]
    assert asked(plain) == []


async def test_an_attempt_that_has_begun_needs_its_template_no_more() -> None:
    runs = world()
    put(runs, "gpus-2", *requests(2))
    await start(runs)
    runs.api.remove(RESOURCE_CLAIM_TEMPLATES, "team", "gpus-2")
    before = len(asked(runs))
    await start(runs)
    assert runs.condition("Accepted")["status"] == "True"
    assert len(asked(runs)) == before


def bar(world: World) -> None:
    world.api.granted = frozenset(right for right in world.api.granted or () if right[1] != "resourceclaimtemplates")


async def test_a_right_that_is_missing_is_said_and_its_coming_starts_the_job() -> None:
    barred = world()
    put(barred, "gpus-2", *requests(2))
    granted = barred.api.granted
    bar(barred)
    assert await barred.step() == 5
    accepted = barred.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", Reason.REFERENCE_MISSING)
    assert "the controller may not read ResourceClaimTemplates in namespace team: its role lacks that right" in accepted["message"]

    barred.api.granted = granted
    await start(barred)
    assert barred.ray_jobs() == ["bot-1"]


async def test_deadlines_count_without_the_right() -> None:
    late = world(runPolicy={"pendingDeadlineSeconds": 300})
    put(late, "gpus-2", *requests(2))
    bar(late)
    await late.step()
    assert late.condition("Accepted")["reason"] == Reason.REFERENCE_MISSING
    late.now += timedelta(seconds=301)
    await late.step()
    assert late.condition("Failed")["reason"] == Reason.PENDING_DEADLINE_EXCEEDED


async def test_an_attempt_whose_ray_job_is_gone_ends_without_the_right() -> None:
    lost = world()
    put(lost, "gpus-2", *requests(2))
    await start(lost)
    bar(lost)
    before = len(asked(lost))
    lost.now += timedelta(seconds=60)  # what was read for the start is remembered no more
    lost.api.remove(RAY_JOBS, "team", "bot-1")
    await lost.step()
    assert lost.status["attempts"][0]["outcome"] is not None
    assert len(asked(lost)) == before


def test_a_template_without_a_form_has_no_devices() -> None:
    assert devices_in({"metadata": {"name": "gpus"}}) == []
