"""A job's life on the real API server with the real KubeRay operator; no node, so the test plays the driver's end."""

import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controller.job.names import UID_LABEL, progress_name
from controller.kinds import FINE_TUNE_JOBS, RAY_CLUSTERS, RAY_JOBS
from controller.runtime.client import Client
from controller.runtime.connection import KubernetesTransport
from controller.runtime.errors import Forbidden
from controller.runtime.resources import CONFIG_MAPS, PODS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, Resource
from controller.runtime.transport import Request
from finetune.api.record import STOP_ANNOTATION
from tests.builders import resource
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakes import fake_node, remove_fake_node
from tests.controller.job.builders import checkpoint, record_text
from tests.integration.jobs import NAMESPACES, Operator

pytestmark = pytest.mark.integration

CHILDREN = (RAY_JOBS, RAY_CLUSTERS, PODS, CONFIG_MAPS, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS)


@pytest.fixture
async def operator(control_plane: ControlPlane, account: Path) -> AsyncIterator[Operator]:
    async with await Operator.connect(control_plane.kubeconfig, account, f"jobs-{uuid.uuid4().hex[:8]}") as operator:
        await operator.claim("models")
        await operator.config_map("rows", **{"train.jsonl": '{"prompt": "a", "completion": "b"}'})
        yield operator


async def started(operator: Operator, name: str = "bot", attempt: int = 1) -> dict[str, Any]:
    """Pass until the attempt's pods are there; return its RayJob."""

    async def ready() -> dict[str, Any] | None:
        ray_job = await operator.find(RAY_JOBS, f"{name}-{attempt}")
        cluster = ((ray_job or {}).get("status") or {}).get("rayClusterName")
        pods = await operator.names(PODS, f"ray.io/cluster={cluster}") if cluster else []
        return ray_job if len(pods) >= 2 else None

    return dict(await operator.run_until(ready, f"started attempt {attempt}"))


def progress_of(ray_job: dict[str, Any]) -> str:
    """Return the name of the progress ConfigMap beside a RayJob."""
    metadata = ray_job["metadata"]
    job, _, attempt = metadata["name"].rpartition("-")
    return progress_name(job, metadata["ownerReferences"][0]["uid"], int(attempt))


async def report(operator: Operator, ray_job: dict[str, Any], **fields: Any) -> None:
    """Play the driver: write a record into the attempt's progress ConfigMap."""
    text = record_text(cluster=ray_job["status"]["rayClusterName"], **fields)
    name = progress_of(ray_job)
    await operator.client.patch(CONFIG_MAPS, name, operator.namespace, {"data": {"record.json": text}})


async def test_a_job_becomes_a_ray_job_that_kuberay_takes_and_pods_under_the_restricted_profile(operator: Operator) -> None:
    restricted = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    await operator.client.patch(NAMESPACES, operator.namespace, None, restricted)
    await operator.create(resource(distributed={"workers": 2}))
    ray_job = await started(operator)
    await operator.run_until(lambda: three_pods(operator), "three pods")
    assert ray_job["status"]["jobDeploymentStatus"] == "Initializing"
    status = await operator.status("bot")
    assert [(a["number"], a["rayJobName"]) for a in status["attempts"]] == [(1, "bot-1")]
    assert status["dashboard"]["service"] == f"{ray_job['status']['rayClusterName']}-head-svc"
    assert status["phase"] == "Starting"
    # Without a node the cluster never becomes ready and KubeRay creates no submitter: its pod is tried by itself.
    submitter = ray_job["spec"]["submitterPodTemplate"]
    metadata = {"name": "submitter", "namespace": operator.namespace, **submitter["metadata"]}
    await operator.client.create(PODS, {"metadata": metadata, "spec": submitter["spec"]})


async def three_pods(operator: Operator) -> bool:
    return len(await operator.names(PODS)) == 3


async def test_what_is_missing_is_named_and_its_coming_starts_the_job(operator: Operator) -> None:
    train = [{"configMap": {"name": "later", "key": "train.jsonl"}}]
    await operator.create(resource(data={"train": train}))
    await operator.pass_once()
    accepted = await operator.condition("bot", "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "ReferenceMissing")
    assert "data.train[0].configMap: there is no ConfigMap later" in accepted["message"]
    assert await operator.names(RAY_JOBS) == []

    await operator.config_map("later", **{"train.jsonl": "{}"})
    await started(operator)
    assert await operator.has_condition("bot", "Accepted", "True")


async def test_a_local_path_is_not_accepted_and_nothing_is_created(operator: Operator) -> None:
    await operator.create(resource(data={"train": [{"path": "rows.jsonl"}]}))
    await operator.pass_once()
    accepted = await operator.condition("bot", "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "SpecInvalid")
    assert accepted["message"].startswith("data.train[0].path: a local path exists for `finetune run` only; put the file on")
    assert await operator.names(RAY_JOBS) == []


async def test_where_kuberay_is_missing_the_job_says_so(operator: Operator) -> None:
    await operator.create(resource())
    await operator.pass_once(kuberay=False)
    accepted = await operator.condition("bot", "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "KubeRayMissing")


async def test_progress_and_success_reach_the_status_and_the_columns(operator: Operator) -> None:
    await operator.create(resource())
    ray_job = await started(operator)
    score = {"metric": "perplexity", "value": 9.81, "direction": "lower", "step": 20}
    metrics = {"baseline": {"perplexity": 18.42}, "latest": {"perplexity": 9.81}, "score": score}
    await report(operator, ray_job, metrics=metrics, checkpoints=[checkpoint(20)])
    await operator.pass_once()
    assert await columns(operator) == ["bot", "Starting", "20/80", "25%", None, "perplexity 9.81", 1, "Starting"]

    final = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 18.42 -> 9.64"}
    await report(operator, ray_job, sequence=4, metrics=metrics | {"final": {"perplexity": 9.64}}, outcome=final, stage="Finished")
    await operator.end_ray_job("bot-1", jobStatus="SUCCEEDED", jobDeploymentStatus="Complete")
    await operator.run_until(lambda: operator.has_condition("bot", "Succeeded", "True"), "succeeded")
    status = await operator.status("bot")
    assert status["metrics"]["final"] == {"perplexity": "9.64"}
    assert [(c["step"], c["verified"]) for c in status["checkpoints"]] == [(20, True)]
    assert status["attempts"][0]["outcome"] == "Succeeded"
    assert operator.log.reasons.count("TrainingSucceeded") == 1
    before = (await operator.job("bot"))["metadata"]["resourceVersion"]
    await operator.pass_once()
    assert (await operator.job("bot"))["metadata"]["resourceVersion"] == before


async def columns(operator: Operator) -> list[Any]:
    """Return the row that `kubectl get ftj -o wide` shows, without the age."""
    request = Request("GET", FINE_TUNE_JOBS.path(operator.namespace), accept="application/json;as=Table;g=meta.k8s.io;v=v1")
    transport = await KubernetesTransport.connect(operator.kubeconfig)
    try:
        answer = await transport.send(request)
    finally:
        await transport.close()
    cells = list(json.loads(answer.body)["rows"][0]["cells"])
    return [*cells[:-2], cells[-1]]


async def test_a_failed_attempt_is_followed_by_another_when_its_pods_are_gone(operator: Operator) -> None:
    await operator.create(resource())
    ray_job = await started(operator)
    await report(operator, ray_job, checkpoints=[checkpoint(20)])
    killed = "Job entrypoint command failed with exit code -9, last available logs"
    await operator.end_ray_job("bot-1", jobStatus="FAILED", jobDeploymentStatus="Failed", reason="AppFailed", message=killed)
    await operator.run_until(lambda: operator.has_condition("bot", "Running", "False", "Retrying"), "retrying")
    assert await operator.find(RAY_JOBS, "bot-2") is None
    # KubeRay shuts the cluster down only for a RayJob that it ended itself; without its own end time the test deletes it.
    await operator.client.delete(RAY_CLUSTERS, ray_job["status"]["rayClusterName"], operator.namespace)
    await started(operator, attempt=2)
    first, second = (await operator.status("bot"))["attempts"]
    assert (first["outcome"], first["reason"], first["lastStep"]) == ("Failed", "TrainerKilled", 20)
    assert "outcome" not in second
    config = await operator.client.get(CONFIG_MAPS, "bot-2-config", operator.namespace)
    uid = (await operator.job("bot"))["metadata"]["uid"]
    trainer_config = json.loads(config["data"]["config.json"])
    assert trainer_config["output"]["directory"] == f"/mnt/claims/models/bot-{uid[:8]}"
    assert trainer_config["job"]["attempt"] == 2


async def test_an_attempt_waits_for_a_ray_cluster_that_no_cache_has(operator: Operator) -> None:
    job = await operator.create(resource())
    ray_job = await started(operator)
    cluster, ours = ray_job["status"]["rayClusterName"], f"{UID_LABEL}={job['metadata']['uid']}"
    assert await operator.names(RAY_CLUSTERS, ours) == [cluster]
    failed = {"number": 1, "rayJobName": "bot-1", "startTime": "2026-03-01T12:00:00Z", "outcome": "Failed"}
    await operator.end_ray_job("bot-1", jobStatus="FAILED", jobDeploymentStatus="Failed", reason="SubmissionFailed")
    # KubeRay takes a suspended cluster's pods down and leaves the cluster, which could start them again.
    await operator.client.patch(RAY_CLUSTERS, cluster, operator.namespace, {"spec": {"suspend": True}})
    await operator.client.patch_status(
        FINE_TUNE_JOBS, "bot", operator.namespace, {"attempts": [failed, {"number": 2, "rayJobName": "bot-2"}]}
    )

    async def waits_for_the_cluster_alone() -> bool:
        message = (await operator.condition("bot", "Running")).get("message", "")
        return "waits for 1 RayCluster of attempt 1 to stop" in message

    await operator.run_until(waits_for_the_cluster_alone, "waiting for the RayCluster")
    assert await operator.names(PODS, ours) == []
    assert await operator.find(RAY_JOBS, "bot-2") is None

    await operator.client.delete(RAY_CLUSTERS, cluster, operator.namespace)
    await started(operator, attempt=2)


async def test_the_inputs_fault_ends_the_job_without_retries(operator: Operator) -> None:
    await operator.create(resource())
    ray_job = await started(operator)
    outcome = {"result": "InputInvalid", "reason": "DataInvalid", "message": "data.train[0]: rows/train.jsonl line 3: not JSON"}
    await report(operator, ray_job, outcome=outcome)
    await operator.pass_once()
    failed = await operator.condition("bot", "Failed")
    assert (failed["status"], failed["reason"]) == ("True", "DataInvalid")
    assert failed["message"].startswith("data.train[0]: rows/train.jsonl line 3")
    await operator.pass_once()
    assert len((await operator.status("bot"))["attempts"]) == 1


async def test_suspending_takes_everything_down_and_resuming_starts_the_next_attempt(operator: Operator) -> None:
    await operator.create(resource())
    await started(operator)
    await operator.set_suspend("bot", True)

    async def nothing_left() -> bool:
        return await operator.names(RAY_JOBS) == [] and await operator.names(PODS) == []

    await operator.run_until(nothing_left, "empty")
    assert await operator.has_condition("bot", "Suspended", "True")
    status = await operator.status("bot")
    assert (status["phase"], status["attempts"][0]["outcome"]) == ("Suspended", "Suspended")

    await operator.set_suspend("bot", False)
    await started(operator, attempt=2)
    assert await operator.has_condition("bot", "Suspended", "False")


async def test_a_job_that_trains_is_asked_for_a_checkpoint_before_its_pods_go(operator: Operator) -> None:
    await operator.create(resource())
    ray_job = await started(operator)
    await report(operator, ray_job, checkpoints=[checkpoint(10)])
    await operator.pass_once()
    await operator.set_suspend("bot", True)
    await operator.run_until(lambda: operator.has_condition("bot", "Suspended", "False", "Stopping"), "asked to stop")
    assert await operator.names(RAY_JOBS) == ["bot-1"]
    progress = await operator.client.get(CONFIG_MAPS, progress_of(ray_job), operator.namespace)
    assert progress["metadata"]["annotations"][STOP_ANNOTATION] == ray_job["status"]["rayClusterName"]

    outcome = {"result": "Interrupted", "reason": "Interrupted", "message": "stopped on request"}
    await report(operator, ray_job, sequence=9, stage="Finished", outcome=outcome, checkpoints=[checkpoint(10), checkpoint(20)])

    async def nothing_left() -> bool:
        return await operator.names(RAY_JOBS) == [] and await operator.names(PODS) == []

    await operator.run_until(nothing_left, "empty")
    status = await operator.status("bot")
    assert (status["phase"], status["attempts"][0]["outcome"]) == ("Suspended", "Suspended")
    assert [each["step"] for each in status["checkpoints"]] == [10, 20]


async def test_a_job_created_suspended_has_no_ray_job_until_it_is_resumed(operator: Operator) -> None:
    await operator.create(resource(runPolicy={"suspend": True}))
    for _ in range(3):
        await operator.pass_once()
    assert await operator.has_condition("bot", "Suspended", "True")
    assert await operator.names(RAY_JOBS) == []
    await operator.set_suspend("bot", False)
    await started(operator)


async def test_deleting_a_job_leaves_no_child_and_no_finalizer_holds_it(operator: Operator) -> None:
    job = await operator.create(resource())
    assert "finalizers" not in job["metadata"]
    await started(operator)
    await operator.client.delete(FINE_TUNE_JOBS, "bot", operator.namespace)

    async def all_gone() -> bool:
        return not [name for kind in CHILDREN for name in await operator.names(kind)]

    await operator.run_until(all_gone, "empty")
    assert await operator.find(CONFIG_MAPS, "rows") is not None


async def test_a_job_of_the_same_name_waits_for_the_children_of_the_deleted_one(operator: Operator) -> None:
    await operator.create(resource())
    first = await started(operator)
    await operator.client.delete(FINE_TUNE_JOBS, "bot", operator.namespace)
    job = await operator.create(resource())

    async def new_ray_job() -> dict[str, Any] | None:
        found = await operator.find(RAY_JOBS, "bot-1")
        return found if found is not None and found["metadata"]["uid"] != first["metadata"]["uid"] else None

    second = await operator.run_until(new_ray_job, "a RayJob of the new job")
    assert [owner["uid"] for owner in second["metadata"]["ownerReferences"]] == [job["metadata"]["uid"]]


async def test_the_heads_account_may_patch_its_own_progress_and_nothing_else(operator: Operator, control_plane: ControlPlane) -> None:
    await operator.create(resource())
    progress = progress_of(await started(operator))
    kubeconfig = control_plane.kubeconfig_for_service_account(operator.namespace, "bot-1")
    head = Client(await KubernetesTransport.connect(kubeconfig), field_manager="head")
    try:
        await head.patch(CONFIG_MAPS, progress, operator.namespace, {"data": {"record.json": "{}"}})
        assert (await head.get(CONFIG_MAPS, progress, operator.namespace))["data"] == {"record.json": "{}"}
        for forbidden in ("bot-1-config", "rows"):
            with pytest.raises(Forbidden):
                await head.patch(CONFIG_MAPS, forbidden, operator.namespace, {"data": {"x": "y"}})
        with pytest.raises(Forbidden):
            await head.list(PODS, operator.namespace)
        with pytest.raises(Forbidden):
            await head.get(RAY_JOBS, "bot-1", operator.namespace)
    finally:
        await head.close()


async def test_a_gpu_job_runs_where_the_gpus_are(operator: Operator, control_plane: ControlPlane) -> None:
    node = f"gpu-{uuid.uuid4().hex[:6]}"
    fake_node(control_plane.api, node, {"nvidia.com/gpu": "4"}, labels={"pool": operator.namespace})
    control_plane.start_scheduler()
    try:
        gpus = {"cpu": "4", "memory": "32Gi", "gpus": 2, "nodeSelector": {"pool": operator.namespace}}
        await operator.create(resource(resources=gpus, distributed={"workers": 2, "deepspeed": {"zeroStage": 3}}))
        await started(operator)

        async def placed() -> list[dict[str, Any]]:
            pods = (await operator.client.list_all(PODS, operator.namespace, label_selector="finetune.dev/role=worker")).items
            return [pod for pod in pods if pod["spec"].get("nodeName") == node]

        async def both_placed() -> list[dict[str, Any]] | None:
            pods = await placed()
            return pods if len(pods) == 2 else None

        for pod in await operator.run_until(both_placed, "placed"):
            container = pod["spec"]["containers"][0]
            assert container["resources"]["limits"] == {"memory": "32Gi", "nvidia.com/gpu": "2"}
            assert "--num-gpus=2" in container["args"][0]
        trainer_config = json.loads((await operator.client.get(CONFIG_MAPS, "bot-1-config", operator.namespace))["data"]["config.json"])
        assert trainer_config["workers"] == {"workers": 2, "gpusPerWorker": 2, "cpusPerWorker": 4.0, "deepspeed": {"zeroStage": 3}}
    finally:
        control_plane.stop_scheduler()
        remove_fake_node(control_plane.api, node)


async def test_the_pods_of_a_claim_for_one_node_share_it_and_the_head_follows_the_workers(
    operator: Operator, control_plane: ControlPlane
) -> None:
    # Two nodes alike, between which the scheduler spreads the pods of one owner if nothing else is said.
    nodes = [f"like-{uuid.uuid4().hex[:6]}" for _ in range(2)]
    for node in nodes:
        fake_node(control_plane.api, node, {})
    control_plane.start_scheduler()
    try:
        await operator.create(resource(distributed={"workers": 4}))
        await started(operator)

        async def all_placed() -> list[str] | None:
            pods = (await operator.client.list_all(PODS, operator.namespace)).items
            placed = [pod["spec"].get("nodeName") for pod in pods]
            return placed if len(placed) == 5 and all(placed) else None

        assert len(set(await operator.run_until(all_placed, "placed"))) == 1
    finally:
        control_plane.stop_scheduler()
        for node in nodes:
            remove_fake_node(control_plane.api, node)


async def test_the_controller_itself_may_read_no_secret(operator: Operator) -> None:
    with pytest.raises(Forbidden):
        await operator.own_client.list(Resource("", "v1", "secrets", "Secret"), operator.namespace)
