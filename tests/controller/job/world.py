"""The surroundings of a reconciler: an API server in memory, caches that see what a test lets them see, and a clock."""

from datetime import datetime
from typing import Any

from controller.job import names
from controller.job.objects.rayjob import ray_job
from controller.job.reconciler import Reconciler
from controller.kinds import FINE_TUNE_JOBS, JOB_LABEL, RAY_CLUSTERS, RAY_JOBS, WORKLOADS
from controller.rights import RIGHTS
from controller.runtime.client import Client
from controller.runtime.resources import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RESOURCE_QUOTAS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    KubeObject,
    Resource,
)
from controller.runtime.store import Store, StoreState
from controller.stores import Stores
from finetune.api.status import Attempt
from tests.builders import resource
from tests.controller.job.builders import NOW, UID, Settings, job, status
from tests.fakes import CREATED, FakeApi
from tests.fakewire import as_asked

KEY = "team/bot"
OWNER = {"apiVersion": "finetune.dev/v1alpha1", "kind": "FineTuneJob", "name": "bot", "uid": UID, "controller": True}


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
        self.api.granted = as_asked(RIGHTS)
        self.client = Client(self.api, field_manager="test")
        self.restart()
        item = resource(**sections)
        metadata = {"name": "bot", "namespace": "team", "uid": UID, "generation": 1, "creationTimestamp": CREATED}
        self.api.put(FINE_TUNE_JOBS, item | {"metadata": metadata})
        self.api.put(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "models", "namespace": "team"}})
        rows = {"metadata": {"name": "rows", "namespace": "team"}, "data": {"train.jsonl": "{}"}}
        self.api.put(CONFIG_MAPS, rows)
        self.catch_up()

    def restart(self, settings: Settings = Settings()) -> None:
        """Let another process take over: what is remembered is lost."""
        self.reconciler = Reconciler(
            self.stores, self.client, settings, self.log, clock=self.clock, monotonic=lambda: (self.now - NOW).total_seconds()
        )

    def clock(self) -> datetime:
        return self.now

    def catch_up(self) -> None:
        """Let the caches see what is on the server."""
        for store, kind in self.kinds():
            all_of_them = kind in (FINE_TUNE_JOBS, PERSISTENT_VOLUME_CLAIMS, RESOURCE_QUOTAS, WORKLOADS)
            objects = self.api.objects(kind)
            store.replace(item for item in objects if all_of_them or JOB_LABEL in (item["metadata"].get("labels") or {}))
            store.state = StoreState.SYNCED

    def kinds(self) -> list[tuple[Store, Resource]]:
        stores = self.stores
        return [
            (stores.jobs, FINE_TUNE_JOBS), (stores.ray_jobs, RAY_JOBS), (stores.pods, PODS), (stores.progress, CONFIG_MAPS),
            (stores.claims, PERSISTENT_VOLUME_CLAIMS), (stores.quotas, RESOURCE_QUOTAS),
            (stores.service_accounts, SERVICE_ACCOUNTS), (stores.roles, ROLES), (stores.role_bindings, ROLE_BINDINGS),
            (stores.workloads, WORKLOADS),
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
        metadata: dict[str, Any] = {"name": name, "namespace": "team", "labels": names.labels("bot", UID, attempt, role)}
        if kind not in (PODS, RAY_CLUSTERS):  # which KubeRay owns
            metadata["ownerReferences"] = [OWNER]
        self.api.put(kind, {"metadata": metadata, **content})

    def put_ray_job(self, attempt: int, job_status: str = "RUNNING", deployment_status: str = "Running") -> None:
        words = {"jobStatus": job_status, "jobDeploymentStatus": deployment_status, "rayClusterName": f"bot-{attempt}-x7k2p"}
        spec = ray_job(job(), attempt, Settings(), {})["spec"]
        self.put_child(RAY_JOBS, f"bot-{attempt}", attempt, spec=spec, status=words)

    def edit(self, kind: Resource, name: str, **metadata: Any) -> None:
        """Change an object's metadata as somebody else might."""
        item = next(item for item in self.api.objects(kind) if item["metadata"]["name"] == name)
        self.api.put(kind, {**item, "metadata": {**item["metadata"], **metadata}})

    def ray_jobs(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.api.objects(RAY_JOBS)]

    def writes(self) -> list[str]:
        return [f"{r.method} {r.path.rsplit('/', 1)[-1]}" for r in self.api.requests if r.method != "GET"]
