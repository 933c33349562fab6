"""What a driver's token may do where drivers share an account: tokens of real pods, on the real API server with the real KubeRay."""

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controller.job.names import UID_LABEL
from controller.job.objects.form import CONFIG_ANNOTATION, SHARED_ACCOUNT
from controller.job.objects.policy import BINDINGS, POLICIES
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.client import Client
from controller.runtime.connection import KubernetesTransport
from controller.runtime.errors import Forbidden, Invalid
from controller.runtime.resources import CONFIG_MAPS, PODS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, KubeObject, Resource
from finetune.api.record import RECORD_MAX_BYTES
from finetune.api.trainconfig import TrainConfig
from tests.builders import resource
from tests.cluster import binaries
from tests.cluster.controlplane import ControlPlane
from tests.controller.job.builders import Settings, record_text
from tests.integration.jobs import NAMESPACES, Operator
from tests.integration.test_job_lifecycle import progress_of, started
from tests.repository import REPOSITORY

pytestmark = pytest.mark.integration

POLICY = "finetune-operator"


@pytest.fixture
async def operator(control_plane: ControlPlane, account: Path) -> AsyncIterator[Operator]:
    """An operator whose drivers share an account, in a namespace under the restricted profile."""
    connected = await Operator.connect(control_plane.kubeconfig, account, f"driver-{uuid.uuid4().hex[:8]}")
    connected.settings = Settings(driver_policy=POLICY)
    async with connected as operator:
        restricted = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
        await operator.client.patch(NAMESPACES, operator.namespace, None, restricted)
        await operator.claim("models")
        await operator.config_map("rows", **{"train.jsonl": '{"prompt": "a", "completion": "b"}'})
        yield operator


class Heads:
    """Clients with the tokens that the kubelet would give to pods."""

    def __init__(self, plane: ControlPlane, directory: Path) -> None:
        self._plane, self._directory = plane, directory
        self._open: list[Client] = []

    async def of(self, namespace: str, pod: KubeObject | None) -> Client:
        """Return a client with a token of the shared account that is bound to a pod, or to none."""
        bound = {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]} if pod else None
        spec = {"boundObjectRef": bound} if bound else {}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{SHARED_ACCOUNT}/token"
        token = self._plane.api.request("POST", path, body)["status"]["token"]
        file = self._plane.credentials.write_token_kubeconfig(self._directory / uuid.uuid4().hex, self._plane.url, token)
        client = Client(await KubernetesTransport.connect(file), field_manager="head")
        self._open.append(client)
        return client

    async def close(self) -> None:
        for client in self._open:
            await client.close()


@pytest.fixture
async def heads(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Heads]:
    heads = Heads(control_plane, tmp_path)
    yield heads
    await heads.close()


async def pods_of(operator: Operator, job: str, role: str) -> list[KubeObject]:
    uid = (await operator.job(job))["metadata"]["uid"]
    page = await operator.client.list_all(PODS, operator.namespace, label_selector=f"{UID_LABEL}={uid},finetune.dev/role={role}")
    return page.items


def told(pod: KubeObject) -> KubeObject:
    """Return the metadata that a head's configuration gives for its progress ConfigMap."""
    progress = TrainConfig.model_validate_json(pod["metadata"]["annotations"][CONFIG_ANNOTATION]).progress
    return {"name": progress.config_map, "namespace": progress.namespace, **(progress.metadata or {})}


def config_map(metadata: KubeObject, **content: Any) -> KubeObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **content}


async def refused(what: Any, words: str = "") -> None:
    """Fail unless a request is refused, for a reason that has these words in it."""
    with pytest.raises((Forbidden, Invalid)) as raised:
        await what
    assert words in str(raised.value), raised.value


async def test_a_job_takes_one_object_and_its_head_reads_the_configuration_from_its_own_pod(operator: Operator) -> None:
    await operator.create(resource())
    ray_job = await started(operator)
    assert await operator.names(CONFIG_MAPS) == []
    for kind in (SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS):
        assert await operator.names(kind) == [SHARED_ACCOUNT]
    [head], workers = await pods_of(operator, "bot", "head"), await pods_of(operator, "bot", "worker")
    config = TrainConfig.model_validate_json(head["metadata"]["annotations"][CONFIG_ANNOTATION])
    assert (config.job.name, config.job.attempt, config.progress.config_map) == ("bot", 1, progress_of(ray_job))
    volumes = {each["name"]: each for each in head["spec"]["volumes"]}
    [item] = volumes["finetune-config"]["downwardAPI"]["items"]
    assert item == {
        "path": "config.json",
        "fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{CONFIG_ANNOTATION}']"},
    }
    assert head["spec"]["serviceAccountName"] == SHARED_ACCOUNT
    assert [each["spec"]["serviceAccountName"] for each in workers] == ["default"]
    assert all(each["name"] != "finetune-config" for worker in workers for each in worker["spec"]["volumes"])
    assert await operator.condition("bot", "Reporting") == {}


async def test_a_drivers_token_may_write_its_own_record_and_nothing_else(operator: Operator, heads: Heads, account: Path) -> None:
    for name in ("bot", "other", "bot-1-x"):
        await operator.create(resource(name))
    mine, theirs, alike = [progress_of(await started(operator, name)) for name in ("bot", "other", "bot-1-x")]
    [pod] = await pods_of(operator, "bot", "head")
    head, namespace = await heads.of(operator.namespace, pod), operator.namespace
    owned, given = "a driver may change the progress ConfigMap of its own attempt only", "labels and the owner that its configuration gives"
    metadata, data = told(pod), {"record.json": "{}"}

    # It may not create another one, nor its own in another's name.
    for job in ("other", "bot-1-x"):
        [another] = await pods_of(operator, job, "head")
        await refused(head.create(CONFIG_MAPS, config_map(told(another), data=data)), owned)
        await (await heads.of(namespace, another)).create(CONFIG_MAPS, config_map(told(another), data=data))
    for wrong in (
        {"labels": {**metadata["labels"], "finetune.dev/job": "other"}},
        {"labels": {**metadata["labels"], "finetune.dev/attempt": "2"}},
        {"labels": {**metadata["labels"], "finetune.dev/job-uid": "0" * 36}},
        {"labels": {**metadata["labels"], "more": "x"}},
        {"labels": {}},
        {"ownerReferences": []},
        {"ownerReferences": [{**metadata["ownerReferences"][0], "blockOwnerDeletion": True}]},
        {"ownerReferences": [{**metadata["ownerReferences"][0], "name": "other"}]},
        {"ownerReferences": [{**metadata["ownerReferences"][0], "uid": "0" * 36}]},
        {"ownerReferences": [metadata["ownerReferences"][0], {**metadata["ownerReferences"][0], "uid": "x", "controller": False}]},
        {"finalizers": ["example.com/mine"]},
        {"annotations": {"a": "b"}},
    ):
        await refused(head.create(CONFIG_MAPS, config_map({**metadata, **wrong}, data=data)), given)
    for content in ({"immutable": True, "data": data}, {"data": {"more": "x"}}, {"binaryData": {"more": "eA=="}}):
        await refused(head.create(CONFIG_MAPS, config_map(metadata, **content)), "of its progress ConfigMap only")
    await refused(head.create(CONFIG_MAPS, config_map({**metadata, "name": "rows-2"}, data=data)), owned)
    generated = {name: value for name, value in metadata.items() if name != "name"} | {"generateName": f"{mine}-"}
    with pytest.raises((Forbidden, Invalid)):
        await head.create(CONFIG_MAPS, config_map(generated, data=data))

    # Allowed: its own, as it is told.
    before = await head.create(CONFIG_MAPS, config_map(metadata, data=data))

    # Allowed: the record, again and again.
    for text in ("{}", "x" * RECORD_MAX_BYTES):
        await head.patch(CONFIG_MAPS, mine, namespace, {"data": {"record.json": text}})
    assert (await operator.client.get(CONFIG_MAPS, mine, namespace))["data"] == {"record.json": "x" * RECORD_MAX_BYTES}

    # Other ConfigMaps, also of jobs whose names are like its own.
    record = {"data": {"record.json": "{}"}}
    for name in (theirs, alike):
        await refused(head.patch(CONFIG_MAPS, name, namespace, record), owned)
    await refused(head.patch(CONFIG_MAPS, "rows", namespace, {"data": {"train.jsonl": "poison"}}), owned)
    await refused(head.patch(CONFIG_MAPS, "kube-root-ca.crt", namespace, {"data": {"ca.crt": "mine"}}), owned)

    # Its own, but for the record.
    for change in (
        {"metadata": {"finalizers": ["example.com/mine"]}},
        {"metadata": {"ownerReferences": []}},
        {"metadata": {"labels": None}},
        {"metadata": {"labels": {"finetune.dev/job": "other"}}},
        {"metadata": {"annotations": {"a": "b"}}},
    ):
        await refused(head.patch(CONFIG_MAPS, mine, namespace, change), "may not change the metadata")
    for content in (
        {"immutable": True},
        {"data": {"more": "x"}},
        {"binaryData": {"more": "eA=="}},
        {"data": {"record.json": "x" * (RECORD_MAX_BYTES + 1)}},
    ):
        await refused(head.patch(CONFIG_MAPS, mine, namespace, content), "of its progress ConfigMap only")

    # Other verbs and kinds.
    await refused(head.create(CONFIG_MAPS, config_map({"name": "new", "namespace": namespace})), owned)
    await refused(head.get(CONFIG_MAPS, mine, namespace))
    await refused(head.list(CONFIG_MAPS, namespace))
    await refused(head.delete(CONFIG_MAPS, mine, namespace))
    await refused(head.replace(CONFIG_MAPS, {**before, "data": {}}))
    for kind, name in ((PODS, pod["metadata"]["name"]), (RAY_JOBS, "bot-1"), (FINE_TUNE_JOBS, "bot"), (ROLES, SHARED_ACCOUNT)):
        await refused(head.get(kind, name, namespace))
        await refused(head.patch(kind, name, namespace, {"metadata": {"labels": {"a": "b"}}}))

    # Other namespaces.
    async with await Operator.connect(operator.kubeconfig, account, f"else-{uuid.uuid4().hex[:8]}") as elsewhere:
        await elsewhere.config_map(mine)
        await refused(head.patch(CONFIG_MAPS, mine, elsewhere.namespace, record))
        await refused(head.create(CONFIG_MAPS, config_map({**metadata, "name": "x", "namespace": elsewhere.namespace}, data=data)))


async def test_a_token_that_no_head_holds_may_nothing(operator: Operator, heads: Heads) -> None:
    await operator.create(resource())
    mine = progress_of(await started(operator))
    [worker], [real] = await pods_of(operator, "bot", "worker"), await pods_of(operator, "bot", "head")
    await (await heads.of(operator.namespace, real)).create(CONFIG_MAPS, config_map(told(real), data={}))
    container = {"name": "x", "image": "x", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    spec = {
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "serviceAccountName": SHARED_ACCOUNT,
        "automountServiceAccountToken": False,
    }
    for name in ("bot-1-head", "bot-1-abcde-header", "bot-1-abcde-worker-fghij", "xbot-1-abcde-head-fghij", "bot-1-abcde-head-fghi"):
        made = await operator.client.create(PODS, {"metadata": {"name": name, "namespace": operator.namespace}, "spec": spec})
        head = await heads.of(operator.namespace, made)
        await refused(head.patch(CONFIG_MAPS, mine, operator.namespace, {"data": {"record.json": "{}"}}), "of its own attempt only")
    unbound = await heads.of(operator.namespace, None)
    await refused(unbound.patch(CONFIG_MAPS, mine, operator.namespace, {"data": {"record.json": "{}"}}), "of its own attempt only")
    assert worker["spec"]["serviceAccountName"] == "default"


async def test_the_longest_name_and_a_head_whose_name_kuberay_cuts_can_report(operator: Operator, heads: Heads) -> None:
    name = "a" * 40
    await operator.create(resource(name))
    mine = progress_of(await started(operator, name))
    [pod] = await pods_of(operator, name, "head")
    head = await heads.of(operator.namespace, pod)
    await head.create(CONFIG_MAPS, config_map(told(pod), data={"record.json": "{}"}))
    await head.patch(CONFIG_MAPS, mine, operator.namespace, {"data": {"record.json": "[]"}})


async def test_what_a_driver_reports_reaches_the_status_also_where_somebody_deletes_it(operator: Operator, heads: Heads) -> None:
    job = await operator.create(resource())
    ray_job = await started(operator)
    [pod] = await pods_of(operator, "bot", "head")
    head, cluster = await heads.of(operator.namespace, pod), ray_job["status"]["rayClusterName"]
    for sequence, step in ((1, 20), (2, 40)):
        progress = {"step": step, "totalSteps": 80, "epoch": 0.5, "tokensSeen": 8192}
        # An outcome is taken at once, a step only every 15 seconds.
        outcome = {"outcome": {"result": "Failed", "reason": "OutOfMemory", "message": "words"}} if sequence == 2 else {}
        text = record_text(cluster=cluster, sequence=sequence, progress=progress, **outcome)
        made = await head.create(CONFIG_MAPS, config_map(told(pod), data={"record.json": text}))
        assert made["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
        await operator.pass_once()
        assert (await operator.status("bot"))["progress"]["step"] == step
        assert await operator.condition("bot", "Reporting") == {}
        if sequence == 1:
            await operator.client.delete(CONFIG_MAPS, progress_of(ray_job), operator.namespace)
    await operator.end_ray_job("bot-1", jobStatus="FAILED", jobDeploymentStatus="Failed", reason="AppFailed")
    await operator.run_until(lambda: operator.has_condition("bot", "Running", "False", "Retrying"), "retrying")


async def test_an_account_that_somebody_deletes_is_made_again(operator: Operator) -> None:
    await operator.create(resource())
    await started(operator)
    for kind in (SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS):
        await operator.client.delete(kind, SHARED_ACCOUNT, operator.namespace)
    await operator.pass_once()
    for kind in (SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS):
        assert await operator.find(kind, SHARED_ACCOUNT) is not None
    assert await operator.has_condition("bot", "Reporting", "True", "DeletedAndRestored")


@pytest.mark.parametrize("kind", [POLICIES, BINDINGS], ids=["policy", "binding"])
async def test_where_the_policy_is_not_as_it_is_shipped_every_attempt_has_its_own_account(operator: Operator, kind: Resource) -> None:
    narrowed = {"namespaceSelector": {"matchLabels": {"a": "b"}}}
    change = {"spec": {"matchConstraints": narrowed}} if kind is POLICIES else {"spec": {"matchResources": narrowed}}
    await operator.client.patch(kind, POLICY, None, change)
    try:
        await operator.create(resource())
        ray_job = await started(operator)
        assert await operator.names(ROLES) == ["bot-1"]
        assert sorted(await operator.names(CONFIG_MAPS)) == ["bot-1-config", progress_of(ray_job)]
    finally:
        kubectl = [str(binaries.kubectl()), f"--kubeconfig={operator.kubeconfig}"]
        manifest = str(REPOSITORY / "manifests" / "rbac" / "driver.yaml")
        for command in (["delete"], ["apply", "--server-side"]):  # so that it is as if nobody had changed it, for tests that apply it too
            await asyncio.to_thread(subprocess.run, [*kubectl, *command, "-f", manifest], check=True, capture_output=True)
