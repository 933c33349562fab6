"""The reconciler on a real API server, one deterministic pass at a time: caches are filled by lists, not by watches."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from controller.job.reconciler import Reconciler
from controller.kinds import FINE_TUNE_JOBS, JOB_LABEL, RAY_JOBS, WORKLOADS
from controller.runtime.client import Client
from controller.runtime.connection import KubernetesTransport
from controller.runtime.errors import Conflict, NotFound, ResourceAbsent, TooManyRequests
from controller.runtime.resources import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    Resource,
    object_key,
)
from controller.runtime.store import Store, StoreState
from controller.stores import Stores
from tests.controller.job.builders import Settings

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
WAIT_SECONDS = 60.0


class EventLog:
    """Events in the order in which they were published."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    async def record(self, regarding: dict[str, Any], type_: str, reason: str, message: str) -> None:
        self.events.append((type_, reason, message))

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason, _ in self.events]


class Operator:
    """The controller's part of a test, in one namespace.

    `client` is the administrator, for what a user or KubeRay does; the controller's own requests go out under its account.
    """

    def __init__(self, client: Client, own_client: Client, kubeconfig: Path, namespace: str) -> None:
        self.client, self.own_client, self.kubeconfig = client, own_client, kubeconfig
        self.namespace, self.log, self.settings = namespace, EventLog(), Settings()
        self.requeue_after: dict[str, float | None] = {}
        self.ahead = timedelta(0)
        """How far the controller's clock is ahead of the real one."""

    @classmethod
    async def connect(cls, kubeconfig: Path, own_kubeconfig: Path, namespace: str) -> Self:
        client, own_client = [
            Client(await KubernetesTransport.connect(path), field_manager="test") for path in (kubeconfig, own_kubeconfig)
        ]
        return cls(client, own_client, kubeconfig, namespace)

    async def __aenter__(self) -> Self:
        await self.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.client.close()
        await self.own_client.close()

    async def pass_once(self, *, kuberay: bool = True) -> None:
        """List everything, then reconcile every job once. A conflict is what a lagging cache meets: the next pass gets it right."""
        stores = Stores()
        for store, resource, selector in (
            (stores.jobs, FINE_TUNE_JOBS, None),
            (stores.pods, PODS, JOB_LABEL),
            (stores.progress, CONFIG_MAPS, JOB_LABEL),
            (stores.claims, PERSISTENT_VOLUME_CLAIMS, None),
            (stores.ray_jobs, RAY_JOBS, JOB_LABEL),
            (stores.service_accounts, SERVICE_ACCOUNTS, JOB_LABEL),
            (stores.roles, ROLES, JOB_LABEL),
            (stores.role_bindings, ROLE_BINDINGS, JOB_LABEL),
            (stores.workloads, WORKLOADS, None),
        ):
            await self._fill(store, resource, selector)
        if not kuberay:
            stores.ray_jobs.replace([])
            stores.ray_jobs.state = StoreState.ABSENT
        reconciler = Reconciler(stores, self.own_client, self.settings, self.log, clock=lambda: datetime.now(UTC) + self.ahead)
        for job in stores.jobs.all():
            key = object_key(job)
            try:
                self.requeue_after[key] = await reconciler.reconcile(key)
            except (Conflict, NotFound):
                continue

    async def _fill(self, store: Store, resource: Resource, selector: str | None) -> None:
        try:
            store.replace((await self.own_client.list_all(resource, self.namespace, label_selector=selector)).items)
            store.state = StoreState.SYNCED
        except ResourceAbsent:
            store.state = StoreState.ABSENT

    async def run_until(self, done: Callable[[], Awaitable[Any]], what: str, seconds: float = WAIT_SECONDS) -> Any:
        """Pass again and again until `done` answers with something; fail with the job's own words."""
        deadline, refused = time.monotonic() + seconds, None
        while True:
            answer = None
            try:
                await self.pass_once()
                answer = await done()
            except TooManyRequests as error:
                # The server takes over a changed definition, and not in one moment for all that asks.
                refused = error
            if answer:
                return answer
            if time.monotonic() > deadline:
                jobs = await self.client.list_all(FINE_TUNE_JOBS, self.namespace)
                asked = f"; it was last asked to slow down by: {refused}" if refused is not None else ""
                raise AssertionError(f"not {what} after {seconds:.0f} s: {[job.get('status') for job in jobs.items]}{asked}") from refused
            await asyncio.sleep(0.2)

    async def create(self, job: dict[str, Any]) -> dict[str, Any]:
        return await self.client.create(FINE_TUNE_JOBS, {**job, "metadata": {**job["metadata"], "namespace": self.namespace}})

    async def job(self, name: str) -> dict[str, Any]:
        return await self.client.get(FINE_TUNE_JOBS, name, self.namespace)

    async def status(self, name: str) -> dict[str, Any]:
        return (await self.job(name)).get("status") or {}

    async def condition(self, name: str, kind: str) -> dict[str, Any]:
        conditions = (await self.status(name)).get("conditions") or []
        return next((condition for condition in conditions if condition["type"] == kind), {})

    async def has_condition(self, name: str, kind: str, value: str, reason: str | None = None) -> bool:
        found = await self.condition(name, kind)
        return found.get("status") == value and (reason is None or found["reason"] == reason)

    async def find(self, resource: Resource, name: str) -> dict[str, Any] | None:
        try:
            return await self.client.get(resource, name, self.namespace)
        except NotFound:
            return None

    async def names(self, resource: Resource, selector: str | None = JOB_LABEL) -> list[str]:
        page = await self.client.list_all(resource, self.namespace, label_selector=selector)
        return [item["metadata"]["name"] for item in page.items]

    async def claim(self, name: str) -> None:
        """Create a claim with a volume of its own, so that pods that use it can be scheduled."""
        volume, storage = f"{self.namespace}-{name}", {"storage": "1Gi"}
        shape = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
        backing = {"capacity": storage, "hostPath": {"path": "/nowhere"}, "claimRef": {"name": name, "namespace": self.namespace}}
        await self.client.create(VOLUMES, {"metadata": {"name": volume}, "spec": {**shape, **backing}})
        spec = {**shape, "resources": {"requests": storage}, "volumeName": volume}
        await self.client.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": name, "namespace": self.namespace}, "spec": spec})

    async def config_map(self, name: str, **data: str) -> None:
        metadata = {"name": name, "namespace": self.namespace}
        await self.client.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})

    async def set_suspend(self, name: str, suspend: bool) -> None:
        await self.client.patch(FINE_TUNE_JOBS, name, self.namespace, {"spec": {"runPolicy": {"suspend": suspend}}})

    async def end_ray_job(self, name: str, **status: str) -> None:
        """Play KubeRay: write a RayJob's last status, as no driver runs here."""
        await self.client.patch_status(RAY_JOBS, name, self.namespace, status)
