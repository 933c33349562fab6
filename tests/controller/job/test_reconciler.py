"""One pass over a job: what is created, deleted and written, in which order, and what an error leaves behind."""

from datetime import datetime
from typing import Any

import pytest

from controller.job.reconciler import NAME_TAKEN_POLL_SECONDS, Reconciler
from controller.runtime.client import Client
from controller.runtime.errors import Conflict, Forbidden, ServerError
from controller.runtime.resources import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    KubeObject,
    Resource,
)
from controller.runtime.store import Store, StoreState
from controller.runtime.transport import Response
from controller.stores import FINE_TUNE_JOBS, RAY_JOBS, Stores
from tests.controller.job.builders import NOW, UID, Settings, record_text, resource
from tests.fakes import FakeApi

KEY = "team/bot"
CREATED = "2026-03-01T11:59:00Z"


class EventLog:
    """Events in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    async def record(self, regarding: KubeObject, type_: str, reason: str, message: str) -> None:
        self.events.append((type_, reason))


class World:
    """An API server in memory, caches that are filled when the test says so, and a reconciler over both."""

    def __init__(self, **sections: Any) -> None:
        self.api, self.stores, self.log = FakeApi(), Stores(), EventLog()
        self.client = Client(self.api, field_manager="test")
        self.reconciler = Reconciler(self.stores, self.client, Settings(), self.log, clock=self.clock)
        item = resource(**sections)
        metadata = {"name": "bot", "namespace": "team", "uid": UID, "generation": 1, "creationTimestamp": CREATED}
        self.api.put(FINE_TUNE_JOBS, item | {"metadata": metadata})
        self.api.put(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "models", "namespace": "team"}})
        rows = {"metadata": {"name": "rows", "namespace": "team"}, "data": {"train.jsonl": "{}"}}
        self.api.put(CONFIG_MAPS, rows)
        self.catch_up()

    def clock(self) -> datetime:
        return NOW

    def catch_up(self) -> None:
        """Let the caches see what is on the server."""
        for store, kind in self.kinds():
            items = self.api.objects(kind)
            for item in items:
                item["metadata"].setdefault("creationTimestamp", CREATED)  # which a real server sets
            store.replace(items)
            store.state = StoreState.SYNCED

    def kinds(self) -> list[tuple[Store, Resource]]:
        stores = self.stores
        return [
            (stores.jobs, FINE_TUNE_JOBS), (stores.ray_jobs, RAY_JOBS), (stores.pods, PODS), (stores.progress, CONFIG_MAPS),
            (stores.claims, PERSISTENT_VOLUME_CLAIMS),
        ]  # fmt: skip

    async def step(self) -> float | None:
        self.catch_up()
        return await self.reconciler.reconcile(KEY)

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.api.objects(FINE_TUNE_JOBS)[0].get("status") or {})

    def condition(self, kind: str) -> dict[str, Any]:
        return next(c for c in self.status["conditions"] if c["type"] == kind)

    def change_job(self, change: dict[str, Any]) -> None:
        job = self.api.objects(FINE_TUNE_JOBS)[0]
        self.api.put(FINE_TUNE_JOBS, {**job, "spec": {**job["spec"], **change}})

    def writes(self) -> list[str]:
        return [f"{r.method} {r.path.rsplit('/', 1)[-1]}" for r in self.api.requests if r.method != "GET"]


async def test_a_job_that_is_gone_needs_nothing() -> None:
    world = World()
    assert await world.reconciler.reconcile("team/other") is None
    assert world.writes() == []


async def test_the_attempt_is_in_status_before_the_first_child_is_created_and_the_ray_job_comes_last() -> None:
    world = World()
    await world.step()
    assert world.writes() == ["PATCH status"]
    assert world.status["attempts"] == [{"number": 1, "rayJobName": "bot-1"}]
    await world.step()
    assert world.writes()[1:] == [
        "POST configmaps", "POST configmaps", "POST serviceaccounts", "POST roles", "POST rolebindings", "POST rayjobs",
    ]  # fmt: skip


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


async def test_a_name_that_somebody_else_has_is_told_and_waited_for() -> None:
    world = World()
    foreign = {
        "metadata": {"name": "bot-1", "namespace": "team", "uid": "x", "creationTimestamp": CREATED, "labels": {"finetune.dev/job": "bot"}}
    }
    world.api.put(RAY_JOBS, foreign)
    await world.step()
    assert await world.step() == NAME_TAKEN_POLL_SECONDS
    running = world.condition("Running")
    assert running["reason"] == "CreationFailed"
    assert "RayJob bot-1 exists and is not this job's" in running["message"]


async def test_an_error_while_acting_still_reaches_the_status_and_the_queue() -> None:
    world = World()
    await world.step()
    world.api.fail(Response(403, b'{"kind":"Status","message":"exceeded quota: team"}'), method="POST", path="rayjobs")
    with pytest.raises(Forbidden):
        await world.step()
    assert "exceeded quota: team" in world.condition("Running")["message"]
    await world.step()
    assert world.condition("Running")["reason"] == "Starting"
    assert len(world.api.objects(RAY_JOBS)) == 1


async def test_an_error_that_passes_by_itself_is_not_told_to_the_user() -> None:
    world = World()
    await world.step()
    before = world.status
    world.api.fail(Response(503, b"{}"), method="POST", path="rayjobs")
    with pytest.raises(ServerError):
        await world.step()
    assert world.status == before


async def test_a_decision_over_an_old_version_of_the_job_is_not_written() -> None:
    world = World()
    world.catch_up()
    world.change_job({"runPolicy": {"suspend": True}})
    with pytest.raises(Conflict):
        await world.reconciler.reconcile(KEY)
    assert world.status == {}
    assert world.log.events == []


async def test_nothing_is_written_when_nothing_changed() -> None:
    world = World()
    for _ in range(3):
        await world.step()
    count = len(world.writes())
    await world.step()
    assert len(world.writes()) == count


async def test_events_tell_of_transitions_once() -> None:
    world = World(data={"train": [{"configMap": {"name": "later", "key": "a.jsonl"}}]})
    await world.step()
    await world.step()
    assert world.log.events == [("Warning", "ReferenceMissing")]
    world.api.put(CONFIG_MAPS, {"metadata": {"name": "later", "namespace": "team"}, "data": {"a.jsonl": ""}})
    await world.step()
    assert world.log.events[1:] == [("Normal", "Accepted"), ("Normal", "Starting")]


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


async def test_suspending_deletes_the_ray_job_by_its_uid() -> None:
    world = World()
    for _ in range(3):
        await world.step()
    world.change_job({"runPolicy": {"suspend": True}})
    await world.step()
    assert world.status["attempts"][0]["outcome"] == "Suspended"
    assert len(world.api.objects(RAY_JOBS)) == 1
    await world.step()
    assert world.api.objects(RAY_JOBS) == []


async def test_a_job_that_is_resumed_after_its_suspension_could_not_be_written_runs_on() -> None:
    world = World()
    for _ in range(3):
        await world.step()
    world.change_job({"runPolicy": {"suspend": True}})
    world.api.fail(Response(503, b"{}"), method="PATCH", path="status")
    with pytest.raises(ServerError):
        await world.step()
    world.change_job({"runPolicy": {"suspend": False}})
    await world.step()
    assert len(world.api.objects(RAY_JOBS)) == 1
    assert "outcome" not in world.status["attempts"][0]


async def test_suspending_leaves_the_ray_job_of_another_job_alone() -> None:
    world = World()
    await world.step()
    world.api.put(RAY_JOBS, {"metadata": {"name": "bot-1", "namespace": "team", "uid": "x", "creationTimestamp": CREATED}})
    world.change_job({"runPolicy": {"suspend": True}})
    await world.step()
    await world.step()
    assert len(world.api.objects(RAY_JOBS)) == 1
    assert world.status["phase"] == "Suspended"


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
    progress = next(item for item in world.api.objects(CONFIG_MAPS) if item["metadata"]["name"] == "bot-1-progress")
    world.api.put(CONFIG_MAPS, {**progress, "data": {"record.json": record_text(outcome=outcome)}})
    await world.reconciler.reconcile(KEY)
    assert world.condition("Failed")["reason"] == "DataInvalid"


async def test_a_status_that_an_other_version_wrote_is_repaired_but_attempts_are_never_guessed() -> None:
    world = World()
    await world.step()
    job = world.api.objects(FINE_TUNE_JOBS)[0]
    world.api.put(FINE_TUNE_JOBS, {**job, "status": {**job["status"], "progress": {"novelty": 1}, "extra": True}})
    await world.step()
    assert "extra" not in world.status
    assert "progress" not in world.status
    assert world.status["attempts"] == [{"number": 1, "rayJobName": "bot-1"}]

    job = world.api.objects(FINE_TUNE_JOBS)[0]
    world.api.put(FINE_TUNE_JOBS, {**job, "status": {**job["status"], "attempts": [{"novelty": 1}]}})
    with pytest.raises(ValueError, match="attempts"):
        await world.step()
