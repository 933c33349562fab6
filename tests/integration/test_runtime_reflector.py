"""Reflectors on the real API server: pages, restarts, definitions that come late."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controller.runtime.client import Client
from controller.runtime.connection import KubernetesTransport
from controller.runtime.errors import Gone
from controller.runtime.metrics import Metrics
from controller.runtime.reflector import Reflector, Selection, Timings
from controller.runtime.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, Resource
from controller.runtime.store import Change, Store, StoreState
from tests.cluster.controlplane import ControlPlane
from tests.controller.runtime.builders import until

pytestmark = pytest.mark.integration

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
DEFINITIONS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
WAIT_SECONDS = 60.0


def config_map(name: str, namespace: str, *, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


@asynccontextmanager
async def connected(plane: ControlPlane) -> AsyncIterator[Client]:
    client = Client(await KubernetesTransport.connect(plane.kubeconfig), field_manager="test")
    try:
        yield client
    finally:
        await client.close()


class Following:
    """A reflector that runs, and the changes that it reported."""

    def __init__(self, client: Client, resource: Resource, selection: Selection, **options: Any) -> None:
        self.store, self.metrics = Store(), Metrics("test")
        self.changes: list[Change] = []
        self.reflector = Reflector(
            client, resource, self.store, self.metrics, selection=selection, on_change=self.changes.append, **options
        )

    async def __aenter__(self) -> "Following":
        self._task = asyncio.create_task(self.reflector.run())
        await asyncio.wait_for(self.store.wait_until_known(), WAIT_SECONDS)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert not self._task.done()
        self._task.cancel()
        await asyncio.wait([self._task])

    @property
    def names(self) -> set[str]:
        return {item["metadata"]["name"] for item in self.store.all()}


async def test_many_objects_come_in_pages_and_changes_follow(control_plane: ControlPlane) -> None:
    async with connected(control_plane) as client:
        await client.create(NAMESPACES, {"metadata": {"name": "reflect-many"}})
        for start in range(0, 1200, 50):
            creations = (client.create(CONFIG_MAPS, config_map(f"c{start + n}", "reflect-many")) for n in range(50))
            await asyncio.gather(*creations)
        everything = {f"c{number}" for number in range(1200)} | {"kube-root-ca.crt"}

        async with Following(client, CONFIG_MAPS, Selection("reflect-many")) as following:
            assert following.names >= everything - {"kube-root-ca.crt"}
            assert len(following.store) == len(following.changes)
            assert "managedFields" not in following.store.all()[0]["metadata"]
            await client.patch(CONFIG_MAPS, "c7", "reflect-many", {"data": {"color": "red"}})
            await client.delete(CONFIG_MAPS, "c8", "reflect-many")
            await client.create(CONFIG_MAPS, config_map("new", "reflect-many"))
            await until(lambda: "new" in following.names, seconds=WAIT_SECONDS)
            changed = following.store.get("reflect-many/c7")
            assert changed is not None
            assert changed["data"] == {"color": "red"}
            assert "c8" not in following.names


async def test_a_watch_goes_on_after_the_api_server_was_restarted(control_plane: ControlPlane) -> None:
    async with connected(control_plane) as client:
        await client.create(NAMESPACES, {"metadata": {"name": "reflect-restart"}})
        await client.create(CONFIG_MAPS, config_map("before", "reflect-restart"))
        await client.create(CONFIG_MAPS, config_map("goes", "reflect-restart"))
        async with Following(client, CONFIG_MAPS, Selection("reflect-restart")) as following:
            await asyncio.to_thread(control_plane.restart_apiserver)
            await client.delete(CONFIG_MAPS, "goes", "reflect-restart")
            await client.create(CONFIG_MAPS, config_map("after", "reflect-restart"))
            await until(lambda: "after" in following.names and "goes" not in following.names, seconds=WAIT_SECONDS)
            assert "before" in following.names
            # An object that is reported twice, or as deleted and new, would have jobs start twice.
            reported = [change.key for change in following.changes if change.key.endswith("/before")]
            assert len(reported) == 1
            assert following.reflector.live


async def test_a_watch_from_before_what_the_server_remembers_is_gone(control_plane: ControlPlane) -> None:
    async with connected(control_plane) as client:
        await client.create(NAMESPACES, {"metadata": {"name": "reflect-gone"}})
        await asyncio.to_thread(control_plane.restart_apiserver)
        with pytest.raises(Gone, match="too old resource version"):
            [event async for event in client.watch(CONFIG_MAPS, resource_version="1", timeout_seconds=5, inactivity_seconds=5)]


async def test_changes_during_an_outage_are_reported_once_it_is_over(control_plane: ControlPlane) -> None:
    async with connected(control_plane) as client:
        await client.create(NAMESPACES, {"metadata": {"name": "reflect-outage"}})
        async with Following(client, CONFIG_MAPS, Selection("reflect-outage")) as following:
            await asyncio.to_thread(control_plane.stop_apiserver)
            await asyncio.sleep(2)
            assert following.store.state is StoreState.SYNCED
            await asyncio.to_thread(control_plane.start_apiserver)
            await client.create(CONFIG_MAPS, config_map("after", "reflect-outage"))
            await until(lambda: "after" in following.names, seconds=WAIT_SECONDS)


async def test_an_object_that_loses_its_label_counts_as_deleted(control_plane: ControlPlane) -> None:
    async with connected(control_plane) as client:
        await client.create(NAMESPACES, {"metadata": {"name": "reflect-label"}})
        await client.create(CONFIG_MAPS, config_map("ours", "reflect-label", labels={"finetune.dev/job": "bot"}))
        await client.create(CONFIG_MAPS, config_map("theirs", "reflect-label"))
        async with Following(client, CONFIG_MAPS, Selection("reflect-label", "finetune.dev/job")) as following:
            assert following.names == {"ours"}
            await client.patch(CONFIG_MAPS, "ours", "reflect-label", {"metadata": {"labels": {"finetune.dev/job": None}}})
            await until(lambda: following.names == set(), seconds=WAIT_SECONDS)


async def test_of_claims_only_the_metadata_comes(control_plane: ControlPlane) -> None:
    async with connected(control_plane) as client:
        await client.create(NAMESPACES, {"metadata": {"name": "reflect-claims"}})
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        claim = {"metadata": {"name": "first", "namespace": "reflect-claims"}, "spec": spec}
        await client.create(PERSISTENT_VOLUME_CLAIMS, claim)
        async with Following(client, PERSISTENT_VOLUME_CLAIMS, Selection("reflect-claims", metadata_only=True)) as following:
            await client.create(PERSISTENT_VOLUME_CLAIMS, {**claim, "metadata": {"name": "second", "namespace": "reflect-claims"}})
            await until(lambda: following.names == {"first", "second"}, seconds=WAIT_SECONDS)
            assert all("spec" not in item for item in following.store.all())


async def test_a_kind_that_is_installed_late_is_found_and_one_that_is_removed_is_absent(control_plane: ControlPlane) -> None:
    gadgets = Resource("late.test", "v1", "gadgets", "Gadget")
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    definition = {
        "metadata": {"name": "gadgets.late.test"},
        "spec": {
            "group": "late.test",
            "scope": "Namespaced",
            "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    quick = Timings(backoff_maximum_seconds=2.0)
    async with connected(control_plane) as client, Following(client, gadgets, Selection(), timings=quick) as following:
        assert following.store.state is StoreState.ABSENT
        await client.create(DEFINITIONS, definition)
        await until(lambda: following.store.state is StoreState.SYNCED, seconds=WAIT_SECONDS)
        await client.create(gadgets, {"apiVersion": "late.test/v1", "kind": "Gadget", "metadata": {"name": "g", "namespace": "default"}})
        await until(lambda: following.names == {"g"}, seconds=WAIT_SECONDS)
        await client.delete(DEFINITIONS, "gadgets.late.test")
        await until(lambda: following.store.state is StoreState.ABSENT, seconds=WAIT_SECONDS)
        assert following.names == set()
