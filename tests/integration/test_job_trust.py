"""What edits, deletions and the trainer itself may do to a job, on the real API server with the real KubeRay operator."""

import asyncio
import copy
from typing import Any

import pytest

from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.client import Client
from controller.runtime.connection import KubernetesTransport
from controller.runtime.errors import Forbidden, TooManyRequests
from controller.runtime.resources import CONFIG_MAPS, PODS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, Resource
from controller.runtime.transport import Request
from tests.builders import resource
from tests.cluster.controlplane import ControlPlane
from tests.cluster.kuberay import DEFINITIONS
from tests.integration.jobs import Operator
from tests.integration.test_job_lifecycle import operator, progress_of, report, started

__all__ = ["operator"]

pytestmark = pytest.mark.integration

SUCCESS = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 18.42 -> 9.64"}


async def succeeded(operator: Operator) -> dict[str, Any]:
    """Run a job to its success; return the job as it then is."""
    await operator.create(resource())
    ray_job = await started(operator)
    await report(operator, ray_job, metrics={"final": {"perplexity": 9.64}}, outcome=SUCCESS, stage="Finished")
    await operator.end_ray_job("bot-1", jobStatus="SUCCEEDED", jobDeploymentStatus="Complete")
    await operator.run_until(lambda: operator.has_condition("bot", "Succeeded", "True"), "succeeded")
    return await operator.job("bot")


async def replace_status(operator: Operator, status: dict[str, Any]) -> None:
    """Do what `kubectl replace --subresource=status` does."""
    job = await operator.job("bot")
    transport = await KubernetesTransport.connect(operator.kubeconfig)
    path = FINE_TUNE_JOBS.path(operator.namespace, "bot", "status")
    try:
        answer = await transport.send(Request("PUT", path, body={**job, "status": status}))
    finally:
        await transport.close()
    assert answer.status == 200, answer.body


async def test_a_finished_job_trains_never_again_whatever_is_taken_out_of_its_status(operator: Operator) -> None:
    whole = (await succeeded(operator))["status"]
    uid = (await operator.client.get(RAY_JOBS, "bot-1", operator.namespace))["metadata"]["uid"]
    for left in ([], ["attempts"], ["conditions"], ["phase", "observedGeneration"], ["progress", "metrics", "attempts"]):
        await replace_status(operator, {name: whole[name] for name in left})
        for _ in range(4):
            await operator.pass_once()
        status = await operator.status("bot")
        assert await operator.has_condition("bot", "Succeeded", "True"), left
        assert await operator.has_condition("bot", "Failed", "False"), left
        assert [(each["number"], each["outcome"]) for each in status["attempts"]] == [(1, "Succeeded")], left
        assert status["metrics"]["final"] == {"perplexity": "9.64"}, left
        assert await operator.names(RAY_JOBS) == ["bot-1"], left
    assert (await operator.client.get(RAY_JOBS, "bot-1", operator.namespace))["metadata"]["uid"] == uid


async def test_a_running_job_is_not_ended_by_an_edit_of_its_conditions(operator: Operator) -> None:
    await operator.create(resource())
    await started(operator)
    status = await operator.status("bot")
    said = {"type": "Succeeded", "status": "True", "reason": "Edited", "message": "", "lastTransitionTime": "2026-03-01T12:00:00Z"}
    await replace_status(operator, {**status, "conditions": [*status["conditions"], said]})
    await operator.pass_once()
    assert await operator.condition("bot", "Succeeded") == {}
    assert await operator.names(RAY_JOBS) == ["bot-1"]
    assert "outcome" not in (await operator.status("bot"))["attempts"][0]


async def test_what_an_attempt_reports_with_is_made_again_and_its_head_may_report_again(
    operator: Operator, control_plane: ControlPlane
) -> None:
    job = await operator.create(resource())
    ray_job = await started(operator)
    progress = progress_of(ray_job)
    await report(operator, ray_job)
    await operator.pass_once()
    kinds: list[tuple[Resource, str]] = [
        (CONFIG_MAPS, "bot-1-config"), (CONFIG_MAPS, progress), (ROLES, "bot-1"), (ROLE_BINDINGS, "bot-1"), (SERVICE_ACCOUNTS, "bot-1"),
    ]  # fmt: skip
    for kind, name in kinds:
        await operator.client.delete(kind, name, operator.namespace)
    await operator.pass_once()
    for kind, name in kinds:
        made = await operator.client.get(kind, name, operator.namespace)
        assert [owner["uid"] for owner in made["metadata"]["ownerReferences"]] == [job["metadata"]["uid"]], (kind, name)
    assert await operator.has_condition("bot", "Reporting", "True", "DeletedAndRestored")
    assert "DeletedAndRestored" in operator.log.reasons

    head = await as_head(operator, control_plane)
    try:
        await head.patch(CONFIG_MAPS, progress, operator.namespace, {"data": {"record.json": "{}"}})
    finally:
        await head.close()
    further = {"step": 40, "totalSteps": 80, "epoch": 0.5, "tokensSeen": 8192}
    await report(operator, ray_job, sequence=9, progress=further, outcome=SUCCESS)
    await operator.end_ray_job("bot-1", jobStatus="SUCCEEDED", jobDeploymentStatus="Complete")
    await operator.run_until(lambda: operator.has_condition("bot", "Succeeded", "True"), "succeeded")
    assert (await operator.status("bot"))["progress"]["step"] == 40


async def as_head(operator: Operator, control_plane: ControlPlane) -> Client:
    kubeconfig = control_plane.kubeconfig_for_service_account(operator.namespace, "bot-1")
    return Client(await KubernetesTransport.connect(kubeconfig), field_manager="head")


async def test_a_ray_job_that_lost_its_labels_runs_on_and_is_seen_to_fail(operator: Operator) -> None:
    await operator.create(resource())
    await started(operator)
    names = ("finetune.dev/job", "finetune.dev/job-uid", "finetune.dev/attempt")
    await operator.client.patch(RAY_JOBS, "bot-1", operator.namespace, {"metadata": {"labels": dict.fromkeys(names)}})
    for _ in range(2):
        await operator.pass_once()
    assert await operator.find(RAY_JOBS, "bot-1") is not None
    assert operator.requeue_after[f"{operator.namespace}/bot"]
    await operator.end_ray_job("bot-1", jobStatus="FAILED", jobDeploymentStatus="Failed", reason="AppFailed", message="exit code -9")
    await operator.run_until(lambda: operator.has_condition("bot", "Running", "False", "Retrying"), "seen to fail")
    assert (await operator.status("bot"))["attempts"][0]["reason"] == "TrainerKilled"


@pytest.mark.parametrize(
    "trick",
    [
        {"metadata": {"finalizers": ["example.com/mine"]}},
        {"metadata": {"ownerReferences": []}},
        {"metadata": {"labels": None}},
        {"immutable": True},
        {"metadata": {"finalizers": ["example.com/mine"], "ownerReferences": [], "labels": None}, "immutable": True},
        {"data": {"record.json": "x" * 1_000_000}},
    ],
    ids=["finalizer", "no owner", "no labels", "immutable", "all of it", "blown up"],
)
async def test_whatever_the_trainer_does_to_its_progress_the_job_ends_and_can_be_deleted_and_created_again(
    operator: Operator, control_plane: ControlPlane, trick: dict[str, Any]
) -> None:
    await operator.create(resource())
    progress = progress_of(await started(operator))
    head = await as_head(operator, control_plane)
    try:
        await head.patch(CONFIG_MAPS, progress, operator.namespace, trick)
        await operator.pass_once()
        assert await operator.find(RAY_JOBS, "bot-1") is not None
        if "data" not in trick:
            assert (await operator.condition("bot", "Reporting"))["reason"] in ("ProgressAltered", "ProgressImmutable")

        # Deleted while the trainer holds it fast: neither the deletion nor the next job of that name waits for it.
        await operator.client.delete(FINE_TUNE_JOBS, "bot", operator.namespace)
        await operator.create(resource())

        async def new_progress() -> str | None:
            found = await operator.find(RAY_JOBS, "bot-1")
            job = await operator.job("bot")
            owners = [] if found is None else [owner["uid"] for owner in found["metadata"]["ownerReferences"]]
            return progress_of(found) if found is not None and owners == [job["metadata"]["uid"]] else None

        assert await operator.run_until(new_progress, "started again") != progress
        if "ownerReferences" not in trick.get("metadata", {}):
            await operator.run_until(lambda: is_gone(operator, progress), "rid of the old progress")
    finally:
        await head.close()
    head = await as_head(operator, control_plane)
    try:
        again = progress_of(await started(operator))
        await head.patch(CONFIG_MAPS, again, operator.namespace, trick)
    finally:
        await head.close()
    await operator.end_ray_job("bot-1", jobStatus="SUCCEEDED", jobDeploymentStatus="Complete")
    await operator.run_until(lambda: operator.has_condition("bot", "Succeeded", "True"), "succeeded")
    await operator.pass_once()

    # Foreground: the job waits for what it owns.
    transport = await KubernetesTransport.connect(operator.kubeconfig)
    try:
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
        await transport.send(Request("DELETE", FINE_TUNE_JOBS.path(operator.namespace, "bot"), body=options))
    finally:
        await transport.close()

    async def gone() -> bool:
        return await operator.find(FINE_TUNE_JOBS, "bot") is None and await operator.find(CONFIG_MAPS, again) is None

    await operator.run_until(gone, "deleted with its progress")


async def is_gone(operator: Operator, name: str) -> bool:
    return await operator.find(CONFIG_MAPS, name) is None


async def test_what_the_trainer_may_alter_is_its_progress_alone(operator: Operator, control_plane: ControlPlane) -> None:
    await operator.create(resource())
    await started(operator)
    head = await as_head(operator, control_plane)
    try:
        for kind, name in ((CONFIG_MAPS, "bot-1-config"), (ROLES, "bot-1"), (ROLE_BINDINGS, "bot-1"), (RAY_JOBS, "bot-1")):
            with pytest.raises(Forbidden):
                await head.patch(kind, name, operator.namespace, {"metadata": {"finalizers": ["example.com/mine"]}})
    finally:
        await head.close()


async def test_an_object_of_somebody_else_with_a_name_of_ours_is_reported_and_not_touched(operator: Operator) -> None:
    await operator.create(resource())
    await started(operator)
    rows = await operator.client.get(CONFIG_MAPS, "rows", operator.namespace)
    await operator.client.delete(ROLES, "bot-1", operator.namespace)
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "rows", "uid": rows["metadata"]["uid"]}
    theirs = {"metadata": {"name": "bot-1", "namespace": operator.namespace, "ownerReferences": [owner]}, "rules": []}
    made = await operator.client.create(ROLES, {"apiVersion": ROLES.api_version, "kind": "Role", **theirs})
    await operator.pass_once()
    assert await operator.has_condition("bot", "Reporting", "False", "NameTaken")
    assert "Role bot-1" in (await operator.condition("bot", "Reporting"))["message"]
    assert await operator.client.get(ROLES, "bot-1", operator.namespace) == made


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"priorityClassName": "system-node-critical"}, "resources.priorityClassName: system-node-critical"),
        ({"tolerations": [{"operator": "Exists"}]}, "resources.tolerations[0]: without a key"),
        ({"tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]}, "resources.tolerations[0].key"),
    ],
    ids=["priority", "every taint", "control plane"],
)
async def test_what_the_administrator_does_not_allow_is_not_started(operator: Operator, resources: dict[str, Any], field: str) -> None:
    await operator.create(resource(resources=resources))
    for _ in range(3):
        await operator.pass_once()
    accepted = await operator.condition("bot", "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "SpecInvalid")
    assert field in accepted["message"]
    assert await operator.names(RAY_JOBS) == []


async def test_every_ray_container_has_its_token_and_would_not_start_without(operator: Operator) -> None:
    await operator.create(resource())
    ray_job = await started(operator)
    selector = f"ray.io/cluster={ray_job['status']['rayClusterName']}"
    for pod in (await operator.client.list_all(PODS, operator.namespace, label_selector=selector)).items:
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            names = [variable["name"] for variable in container["env"]]
            assert (names.count("RAY_AUTH_MODE"), names.count("RAY_AUTH_TOKEN")) == (1, 1)


async def ray_jobs_served(operator: Operator) -> None:
    """Wait until the server has taken over a changed definition: for a moment it answers that storage is initializing."""
    async with asyncio.timeout(60):
        while True:
            try:
                await operator.client.list_all(RAY_JOBS, operator.namespace)
            except TooManyRequests:
                await asyncio.sleep(0.2)
            else:
                return


async def test_where_the_definition_of_ray_jobs_lacks_fields_that_are_set_nothing_is_started(
    operator: Operator, control_plane: ControlPlane
) -> None:
    api, path = control_plane.api, f"{DEFINITIONS}/rayjobs.ray.io"
    new = api.request("GET", path)
    old = copy.deepcopy(new)
    for version in old["spec"]["versions"]:
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        spec["rayClusterSpec"]["properties"].pop("authOptions", None)
        for name in ("backoffLimit", "submitterConfig"):
            spec.pop(name, None)
    api.request("PUT", path, old)
    try:
        await ray_jobs_served(operator)
        await operator.create(resource())
        await operator.run_until(lambda: operator.has_condition("bot", "Running", "False", "KubeRayUnsafe"), "refused")
        message = (await operator.condition("bot", "Running"))["message"]
        assert "does not keep spec.backoffLimit, spec.rayClusterSpec.authOptions, spec.submitterConfig: " in message
        assert "KubeRay 1.6" in message
        assert await operator.names(RAY_JOBS) == []
    finally:
        current = api.request("GET", path)
        api.request("PUT", path, {**current, "spec": new["spec"]})
    await ray_jobs_served(operator)
    await started(operator)
