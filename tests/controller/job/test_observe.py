"""What is asked of the server, because caches must not answer it."""

import pytest

from controller.job.pauses import UNWATCHED_POLL
from controller.kinds import FINE_TUNE_JOBS, QUEUE_LABEL, RAY_JOBS
from controller.runtime.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PODS
from controller.runtime.store import StoreState
from controller.runtime.transport import Response
from tests.controller.job.builders import attempt, record_text
from tests.controller.job.world import KEY, World


async def test_a_config_map_without_the_key_is_named_with_the_keys_it_has() -> None:
    world = World(data={"train": [{"configMap": {"name": "rows", "key": "other.jsonl"}}]})
    assert await world.step() == 5
    assert "ConfigMap rows has no key other.jsonl (it has: train.jsonl)" in world.condition("Accepted")["message"]


async def test_a_config_map_is_asked_for_once_however_many_keys_of_it_are_named() -> None:
    sources = [{"configMap": {"name": "rows", "key": key}} for key in ("train.jsonl", "b.jsonl", "c.jsonl")]
    world = World(data={"train": sources})
    await world.step()
    asked = [request.path for request in world.api.requests if request.path.endswith("/configmaps/rows")]
    assert len(asked) == 1
    message = world.condition("Accepted")["message"]
    assert "data.train[1].configMap: ConfigMap rows has no key b.jsonl" in message
    assert "data.train[2].configMap: ConfigMap rows has no key c.jsonl" in message


async def test_that_workloads_may_not_be_listed_is_no_reason_to_blame_kueue_and_is_said() -> None:
    world = World()
    world.edit(FINE_TUNE_JOBS, "bot", labels={QUEUE_LABEL: "team-a"})
    while not world.ray_jobs():
        await world.step()
    world.catch_up()
    world.stores.workloads.state = StoreState.SYNCING
    world.stores.workloads.refuse()
    await world.reconciler.reconcile(KEY)
    assert (world.status["phase"], world.condition("Queued")["reason"]) == ("Queued", "Queued")
    assert "may not list and watch workloads.kueue.x-k8s.io" in world.condition("Queued")["message"]


async def test_a_success_whose_ray_job_was_cleared_away_is_a_success() -> None:
    world = World()
    world.set_status(attempt())
    outcome = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 9.6"}
    data = {"record.json": record_text(outcome=outcome, stage="Finished")}
    world.catch_up()
    world.put_child(CONFIG_MAPS, "bot-1-progress-0123abcd", 1, data=data)
    await world.reconciler.reconcile(KEY)
    assert world.condition("Succeeded")["status"] == "True"


async def test_a_ray_job_that_is_gone_without_a_last_word_was_deleted() -> None:
    world = World()
    world.set_status(attempt())
    world.put_child(CONFIG_MAPS, "bot-1-progress-0123abcd", 1, data={"record.json": record_text()})
    await world.step()
    assert world.status["attempts"][0]["reason"] == "RayJobDeleted"
    assert world.status["attempts"][0]["lastStep"] == 20


@pytest.mark.parametrize("how", ["leaving", "absent"])
async def test_a_ray_job_that_went_with_its_definition_was_not_deleted_by_somebody(how: str) -> None:
    """The API server deletes all RayJobs before it serves them no more, and the cache believes in their absence later still."""
    world = World()
    world.set_status(attempt())
    getattr(world.api, how).add(str(RAY_JOBS))
    assert await world.step() == UNWATCHED_POLL.total_seconds()
    assert "outcome" not in world.status["attempts"][0]
    assert world.condition("Running")["reason"] == "KubeRayMissing"

    getattr(world.api, how).clear()
    await world.step()
    assert (world.status["attempts"][0]["outcome"], world.status["attempts"][0]["reason"]) == ("Interrupted", "KubeRayRemoved")


async def test_a_cache_that_has_lost_the_ray_job_is_not_believed() -> None:
    world = World()
    for _ in range(3):
        await world.step()
    assert world.status["attempts"][0]["startTime"]
    world.catch_up()
    world.stores.ray_jobs.replace([])
    await world.reconciler.reconcile(KEY)
    assert "outcome" not in world.status["attempts"][0]

    world.api.remove(RAY_JOBS, "team", "bot-1")
    await world.step()
    assert world.status["attempts"][0]["reason"] == "RayJobDeleted"


async def test_the_last_word_is_read_from_the_server_when_the_cache_has_not_got_it() -> None:
    world = World()
    for _ in range(3):
        await world.step()
    ray_job = world.api.objects(RAY_JOBS)[0]
    world.api.put(
        RAY_JOBS, {**ray_job, "status": {"jobStatus": "FAILED", "jobDeploymentStatus": "Failed", "rayClusterName": "bot-1-x7k2p"}}
    )
    world.catch_up()
    outcome = {"result": "InputInvalid", "reason": "DataInvalid", "message": "no column question"}
    progress = next(item for item in world.api.objects(CONFIG_MAPS) if item["metadata"]["name"] == "bot-1-progress-0123abcd")
    world.api.put(CONFIG_MAPS, {**progress, "data": {"record.json": record_text(outcome=outcome)}})
    await world.reconciler.reconcile(KEY)
    assert world.condition("Failed")["reason"] == "DataInvalid"


async def test_claims_are_not_asked_for_while_an_attempt_only_waits_for_pods_to_go() -> None:
    world = World()
    await world.step()
    world.put_child(PODS, "bot-1-head", 1, "head")
    for _ in range(3):
        await world.step()
    asked = [request.path for request in world.api.requests if request.path.endswith("/persistentvolumeclaims/models")]
    assert asked == []
    world.api.remove(PODS, "team", "bot-1-head")
    await world.step()
    assert world.ray_jobs() == ["bot-1"]


async def test_a_claim_that_is_deleted_while_the_job_waits_for_a_quota_is_named() -> None:
    world = World()
    await world.step()
    world.api.fail(Response(403, b'{"kind":"Status","message":"exceeded quota: team"}'), method="POST", path="rayjobs", times=9)
    await world.step()
    world.api.remove(PERSISTENT_VOLUME_CLAIMS, "team", "models")
    asked = len(world.api.requests)
    await world.step()
    assert [request.method for request in world.api.requests[asked:]] == ["PATCH"]  # what no cache has is not asked for
    assert "there is no PersistentVolumeClaim models" in world.condition("Accepted")["message"]
