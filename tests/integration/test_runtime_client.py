"""The client on the real API server: what is refused, and how it says so."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller.kinds import RAY_JOBS
from controller.runtime import errors
from controller.runtime.client import Client
from controller.runtime.connection import KubernetesTransport
from controller.runtime.events import EventRecorder
from controller.runtime.resources import CONFIG_MAPS, EVENTS, PODS, Resource
from tests.cluster.controlplane import ControlPlane

pytestmark = pytest.mark.integration

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)


@pytest.fixture
async def client(control_plane: ControlPlane) -> AsyncIterator[Client]:
    client = Client(await KubernetesTransport.connect(control_plane.kubeconfig), field_manager="finetune-operator")
    yield client
    await client.close()


@pytest.fixture
async def namespace(client: Client) -> str:
    name = f"client-{uuid.uuid4().hex[:8]}"
    await client.create(NAMESPACES, {"metadata": {"name": name}})
    return name


def config_map(namespace: str, name: str = "c", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def ray_job(namespace: str) -> dict[str, Any]:
    pod = {"spec": {"containers": [{"name": "ray-head", "image": "none"}]}}
    cluster = {"headGroupSpec": {"rayStartParams": {}, "template": pod}}
    metadata = {"name": "r", "namespace": namespace}
    spec = {"entrypoint": "true", "suspend": True, "shutdownAfterJobFinishes": True, "rayClusterSpec": cluster}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec}


async def test_what_is_refused_is_raised_as_the_kind_that_says_how_to_go_on(client: Client, namespace: str) -> None:
    stored = await client.create(CONFIG_MAPS, config_map(namespace))
    with pytest.raises(errors.AlreadyExists):
        await client.create(CONFIG_MAPS, config_map(namespace))
    with pytest.raises(errors.NotFound) as missing:
        await client.get(CONFIG_MAPS, "none", namespace)
    assert not isinstance(missing.value, errors.ResourceAbsent)
    with pytest.raises(errors.NotFound) as no_namespace:
        await client.create(CONFIG_MAPS, config_map("no-such-namespace"))
    assert not isinstance(no_namespace.value, errors.ResourceAbsent)
    with pytest.raises(errors.ResourceAbsent):
        await client.list(Resource("no.such.group", "v1", "things", "Thing"))
    with pytest.raises(errors.Invalid, match="data"):
        await client.create(CONFIG_MAPS, {**config_map(namespace, "bad"), "data": {"a/b": "x"}})
    await client.patch(CONFIG_MAPS, "c", namespace, {"data": {"a": "1"}})
    with pytest.raises(errors.Conflict):
        await client.replace(CONFIG_MAPS, stored)


async def test_what_a_user_may_not_do_is_forbidden(control_plane: ControlPlane, namespace: str) -> None:
    kubeconfig = await asyncio.to_thread(control_plane.kubeconfig_for, "nobody", [])
    client = Client(await KubernetesTransport.connect(kubeconfig), field_manager="test")
    with pytest.raises(errors.Forbidden, match='User "nobody" cannot list resource "pods"'):
        await client.list(PODS, namespace)
    await client.close()


async def test_a_status_is_merged_and_the_spec_stays(client: Client, namespace: str) -> None:
    stored = await client.create(RAY_JOBS, ray_job(namespace))
    merged = await client.patch_status(RAY_JOBS, "r", namespace, {"message": "merged", "reason": "AppFailed"})
    assert merged["status"]["message"] == "merged"
    assert merged["spec"]["entrypoint"] == stored["spec"]["entrypoint"]

    old = stored["metadata"]["resourceVersion"]
    with pytest.raises(errors.Conflict):
        await client.patch_status(RAY_JOBS, "r", namespace, {"message": "too late"}, resource_version=old)


async def test_deleting_with_the_uid_of_a_predecessor_deletes_nothing(client: Client, namespace: str) -> None:
    stored = await client.create(CONFIG_MAPS, config_map(namespace))
    with pytest.raises(errors.Conflict):
        await client.delete(CONFIG_MAPS, "c", namespace, uid=str(uuid.uuid4()))
    await client.delete(CONFIG_MAPS, "c", namespace, uid=stored["metadata"]["uid"])
    with pytest.raises(errors.NotFound):
        await client.delete(CONFIG_MAPS, "c", namespace)


async def test_metadata_comes_without_the_contents(client: Client, namespace: str) -> None:
    await client.create(CONFIG_MAPS, config_map(namespace, secret="x"))

    (item,) = [item for item in (await client.list(CONFIG_MAPS, namespace, metadata_only=True)).items if item["metadata"]["name"] == "c"]
    assert "data" not in item
    assert "data" not in await client.get(CONFIG_MAPS, "c", namespace, metadata_only=True)


async def test_an_event_is_shown_with_its_object(client: Client, namespace: str) -> None:
    about = await client.create(CONFIG_MAPS, config_map(namespace))
    await EventRecorder(client, "finetune-operator", "pod-1").record(about, "Warning", "AttemptFailed", "out of memory")

    (event,) = (await client.list(EVENTS, namespace)).items
    assert (event["reason"], event["note"], event["regarding"]["uid"]) == ("AttemptFailed", "out of memory", about["metadata"]["uid"])
    core = (await client.list(Resource("", "v1", "events", "Event"), namespace)).items
    assert [item["involvedObject"]["name"] for item in core] == ["c"]
