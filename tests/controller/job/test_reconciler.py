"""One pass over a job: what is created, deleted and written, in which order, and what an error leaves behind."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from controller.api.status import Attempt
from controller.job import names
from controller.job.policies import PODS_GONE_POLL_SECONDS
from controller.job.reconciler import NAME_TAKEN_POLL_SECONDS, UNREADABLE_POLL_SECONDS, Reconciler
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
from controller.stores import FINE_TUNE_JOBS, RAY_CLUSTERS, RAY_JOBS, Stores
from tests.controller.job.builders import NOW, UID, Settings, attempt, record_text, resource, status
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
        self.api, self.stores, self.log, self.now = FakeApi(), Stores(), EventLog(), NOW
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
        return self.now

    def catch_up(self) -> None:
        """Let the caches see what is on the server."""
        for store, kind in self.kinds():
            store.replace(self.api.objects(kind))
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

    def set_status(self, *attempts: Attempt, **fields: Any) -> None:
        """Write a status as the controller would have, in an earlier pass."""
        job = self.api.objects(FINE_TUNE_JOBS)[0]
        self.api.put(FINE_TUNE_JOBS, {**job, "status": status(*attempts, **fields).to_wire()})

    def put_child(self, kind: Resource, name: str, attempt: int, role: str | None = None, **content: Any) -> None:
        """Put an object of an attempt on the server, where caches do not see it yet."""
        metadata = {"name": name, "namespace": "team", "labels": names.labels("bot", UID, attempt, role)}
        self.api.put(kind, {"metadata": metadata, **content})

    def put_ray_job(self, attempt: int, job_status: str = "RUNNING", deployment_status: str = "Running") -> None:
        words = {"jobStatus": job_status, "jobDeploymentStatus": deployment_status, "rayClusterName": f"bot-{attempt}-x7k2p"}
        self.put_child(RAY_JOBS, f"bot-{attempt}", attempt, status=words)

    def ray_jobs(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.api.objects(RAY_JOBS)]

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
    assert world.condition("Running")["reason"] == "CreationFailed"
    assert world.status["phase"] == "Waiting"
    await world.step()
    assert world.condition("Running")["reason"] == "Starting"
    assert len(world.api.objects(RAY_JOBS)) == 1


@pytest.mark.parametrize(("runs", "phase"), [(False, "Suspended"), (True, "Running")], ids=["while it rests", "while another attempt runs"])
async def test_a_deletion_that_is_refused_is_told_as_one(runs: bool, phase: str) -> None:
    world = World(runPolicy={"suspend": not runs})
    world.set_status(attempt(1, outcome="Suspended", end_time=NOW), *([attempt(2)] if runs else []))
    world.put_ray_job(1)
    if runs:
        world.put_ray_job(2)
    world.api.fail(Response(403, b'{"kind":"Status","message":"an admission plugin says no"}'), method="DELETE")
    with pytest.raises(Forbidden):
        await world.step()
    running = world.condition("Running")
    assert (running["status"], running["reason"]) == (str(runs), "DeletionFailed")
    assert "an admission plugin says no" in running["message"]
    assert world.status["phase"] == phase


async def test_a_child_that_goes_while_it_is_looked_at_is_created_in_the_next_pass() -> None:
    world = World()
    await world.step()
    before = world.status
    world.api.fail(Response(409, b'{"kind":"Status","reason":"AlreadyExists"}'), method="POST", path="rayjobs")
    with pytest.raises(Conflict):
        await world.step()
    assert world.status == before
    await world.step()
    assert world.ray_jobs() == ["bot-1"]


async def test_a_job_that_goes_before_its_status_is_written_needs_none() -> None:
    world = World()
    world.api.remove(FINE_TUNE_JOBS, "team", "bot")
    await world.reconciler.reconcile(KEY)
    assert world.log.events == []


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
    assert world.writes() == ["PATCH status"]  # which the server refused
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


async def test_a_success_whose_ray_job_was_cleared_away_is_a_success() -> None:
    world = World()
    world.set_status(attempt())
    outcome = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 9.6"}
    data = {"record.json": record_text(outcome=outcome, stage="Finished")}
    world.catch_up()
    world.put_child(CONFIG_MAPS, "bot-1-progress", 1, data=data)
    await world.reconciler.reconcile(KEY)
    assert world.condition("Succeeded")["status"] == "True"


async def test_a_ray_job_that_is_gone_without_a_last_word_was_deleted() -> None:
    world = World()
    world.set_status(attempt())
    world.put_child(CONFIG_MAPS, "bot-1-progress", 1, data={"record.json": record_text()})
    await world.step()
    assert world.status["attempts"][0]["reason"] == "RayJobDeleted"
    assert world.status["attempts"][0]["lastStep"] == 20


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


async def test_a_status_that_an_other_version_wrote_is_repaired() -> None:
    world = World()
    await world.step()
    job = world.api.objects(FINE_TUNE_JOBS)[0]
    world.api.put(FINE_TUNE_JOBS, {**job, "status": {**job["status"], "progress": {"novelty": 1}, "extra": True}})
    await world.step()
    assert "extra" not in world.status
    assert "progress" not in world.status
    assert world.status["attempts"] == [{"number": 1, "rayJobName": "bot-1"}]


@pytest.mark.parametrize("conditions", [True, False], ids=["conditions can be read", "nor can they"])
async def test_attempts_that_cannot_be_read_are_never_guessed_but_named(conditions: bool) -> None:
    world = World()
    await world.step()
    job = world.api.objects(FINE_TUNE_JOBS)[0]
    wrong = {"attempts": [{"novelty": 1}]} | ({} if conditions else {"conditions": [7]})
    world.api.put(FINE_TUNE_JOBS, {**job, "status": {**job["status"], **wrong}})
    world.log.events.clear()
    assert await world.step() == UNREADABLE_POLL_SECONDS
    accepted = world.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "StatusUnreadable")
    assert "status.attempts[0]." in accepted["message"]
    assert world.status["attempts"] == [{"novelty": 1}]
    assert [c["type"] for c in world.status["conditions"]] == (["Accepted", "Running"] if conditions else ["Accepted"])

    written = len(world.writes())
    await world.step()
    assert len(world.writes()) == written
    assert world.log.events == [("Warning", "StatusUnreadable")]
    assert world.ray_jobs() == []
