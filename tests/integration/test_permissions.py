"""Every line of docs/permissions.md, tried by each account on the real API server, with the rights that the real helm installs."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.job.names import UID_LABEL, progress_name
from controller.job.objects.form import CONFIG_ANNOTATION, SHARED_ACCOUNT
from controller.runtime.resources import CONFIG_MAPS, PODS
from finetune.api import crd
from finetune.api.trainconfig import TrainConfig
from tests.builders import resource
from tests.cluster.controlplane import ControlPlane
from tests.controller.job.builders import Settings
from tests.integration.jobs import Operator
from tests.integration.permissions import Account, Call, calls
from tests.integration.processes import DEFINITION
from tests.integration.releases import CHART_NAME, Release, create_namespace, installed
from tests.integration.test_job_lifecycle import started

pytestmark = pytest.mark.integration


def create(plane: ControlPlane, path: str, name: str, **content: Any) -> None:
    plane.api.request("POST", path, {"metadata": {"name": name}, **content})


def token(plane: ControlPlane, namespace: str, account: str, pod: dict[str, Any] | None = None) -> str:
    bound = {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]} if pod else None
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"boundObjectRef": bound} if bound else {}}
    return str(plane.api.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", body)["status"]["token"])


def token_in(kubeconfig: Path) -> str:
    return str(json.loads(kubeconfig.read_text())["users"][0]["user"]["token"])


async def run_job(plane: ControlPlane, release: Release, namespace: str, job: str, *, shared: bool) -> dict[str, Any]:
    """Start a job with the release's own account; return its head's pod. Its progress ConfigMap is there afterwards."""
    operator = await Operator.connect(plane.kubeconfig, release.kubeconfig, namespace)
    operator.settings = Settings(driver_policy=release.name if shared else None)
    try:
        created = await operator.create(resource(job))
        await started(operator, job)
        uid = created["metadata"]["uid"]
        [pod] = (await operator.client.list_all(PODS, namespace, label_selector=f"{UID_LABEL}={uid},finetune.dev/role=head")).items
        assert pod["spec"]["serviceAccountName"] == (SHARED_ACCOUNT if shared else f"{job}-1")
        if shared:
            progress = TrainConfig.model_validate_json(pod["metadata"]["annotations"][CONFIG_ANNOTATION]).progress
            metadata = {"name": progress.config_map, "namespace": namespace, **(progress.metadata or {})}
            await operator.client.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        return {**pod, "progress": progress_name(job, uid, 1)}
    finally:
        await operator.client.close()
        await operator.own_client.close()


def prepare(plane: ControlPlane, namespace: str) -> None:
    """Create what a job needs, and a Secret; and accounts of people with the roles of Kubernetes."""
    create_namespace(plane, namespace)
    core, rbac = f"/api/v1/namespaces/{namespace}", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    create(plane, f"{core}/configmaps", "rows", data={"train.jsonl": '{"prompt": "a", "completion": "b"}'})
    create(plane, f"{core}/secrets", "hub", stringData={"token": "x"})
    claim = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}
    create(plane, f"{core}/persistentvolumeclaims", "models", spec=claim)
    requests = [{"name": "gpus", "exactly": {"deviceClassName": "gpu.example.com"}}]
    templates = f"/apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaimtemplates"
    create(plane, templates, "gpus-2", spec={"spec": {"devices": {"requests": requests}}})
    for account, role in (("viewer", "view"), ("editor", "edit")):
        create(plane, f"{core}/serviceaccounts", account)
        subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
        create(plane, f"{rbac}/rolebindings", account, roleRef=cluster_role(role), subjects=[subject])


def cluster_role(name: str) -> dict[str, str]:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}


@pytest.fixture(scope="module")
def accounts(control_plane: ControlPlane) -> Iterator[dict[str, Account]]:
    """By their names in the table: two releases, jobs that these have started, and people."""
    plane = control_plane
    plane.api.apply(DEFINITION, crd.manifest_text().encode())
    plane.api.wait_for(DEFINITION, "Established")
    ours, theirs = (f"team-{letter}-{uuid.uuid4().hex[:8]}" for letter in "ab")
    for namespace in (ours, theirs):
        prepare(plane, namespace)
    node = f"node-{uuid.uuid4().hex[:8]}"
    create(plane, "/api/v1/nodes", node)
    with installed(plane, "all") as everywhere, installed(plane, "one", f"watchNamespaces={{{ours}}}") as limited:

        async def start() -> list[dict[str, Any]]:
            in_ours = [await run_job(plane, limited, ours, job, shared=shared) for job, shared in (("bot", True), ("own", False))]
            return [*in_ours, await run_job(plane, everywhere, theirs, "bot", shared=True)]

        bot, own, other = asyncio.run(start())
        names = {
            "team-a": ours, "team-b": theirs, "node-1": node, "progress-of-bot": bot["progress"], "annotations-of-bot": bot["progress"],
            "progress-of-own": own["progress"],
            "head-of-bot": bot["metadata"]["name"], "team-b/progress-of-bot": other["progress"],
            "team-b/head-of-bot": other["metadata"]["name"],
        }  # fmt: skip

        def of(release: Release, held: str) -> Account:
            mine = {"operator": release.namespace, "own": release.name, "controller": release.name, CHART_NAME: release.name}
            return Account(plane, held, {**names, **mine, "driver-policy": release.name, "other": "other"})

        for release in (everywhere, limited):
            leases = f"/apis/coordination.k8s.io/v1/namespaces/{release.namespace}/leases"
            for lease in (release.name, "other"):
                create(plane, leases, lease)
        everybody = {
            "controller": of(everywhere, token_in(everywhere.kubeconfig)),
            "controller of A": of(limited, token_in(limited.kubeconfig)),
            "head": of(everywhere, token(plane, ours, SHARED_ACCOUNT, bot)),
            "head, own account": of(everywhere, token(plane, ours, "own-1", own)),
            "viewer": of(everywhere, token(plane, ours, "viewer")),
            "editor": of(everywhere, token(plane, ours, "editor")),
        }
        yield everybody
        for account in everybody.values():
            account.close()
    plane.api.request("DELETE", f"/api/v1/nodes/{node}")


@pytest.mark.parametrize("call", list(calls()), ids=str)
def test_every_account_may_do_what_the_table_says_and_nothing_else(accounts: dict[str, Account], call: Call) -> None:
    assert {who: account.allowed(call) for who, account in accounts.items()} == dict(call.expected)
