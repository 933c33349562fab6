"""What becomes of a job whose RayJob somebody deletes or edits while it runs, on the real API server with the real KubeRay operator."""

from typing import Any

import pytest

from controller.kinds import RAY_CLUSTERS, RAY_JOBS
from controller.runtime.resources import PODS, Resource
from tests.builders import resource
from tests.controller.job.builders import checkpoint
from tests.integration.jobs import Operator
from tests.integration.test_job_lifecycle import operator, report, started

__all__ = ["operator"]

pytestmark = [pytest.mark.integration, pytest.mark.fault]

QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")


async def outcomes(operator: Operator) -> list[tuple[str | None, str | None]]:
    return [(each.get("outcome"), each.get("reason")) for each in (await operator.status("bot"))["attempts"]]


async def test_a_ray_job_that_is_deleted_is_said_to_be_and_followed_by_another_attempt(operator: Operator) -> None:
    await operator.create(resource(runPolicy={"maxAttempts": 2}))
    first = await started(operator)
    await report(operator, first, checkpoints=[checkpoint(20)])
    await operator.pass_once()
    await operator.client.delete(RAY_JOBS, "bot-1", operator.namespace)
    await operator.run_until(lambda: operator.has_condition("bot", "Running", "False", "Retrying"), "seen as deleted")
    message = (await operator.condition("bot", "Running"))["message"]
    assert "attempt 1 ended (RayJobDeleted); the next one resumes from the last checkpoint." in message
    assert "RayJob bot-1 was deleted while it ran" in message

    await started(operator, attempt=2)
    assert await outcomes(operator) == [("Failed", "RayJobDeleted"), (None, None)]
    await operator.client.delete(RAY_JOBS, "bot-2", operator.namespace)
    await operator.run_until(lambda: operator.has_condition("bot", "Failed", "True", "AttemptsExhausted"), "failed")
    assert await operator.find(RAY_JOBS, "bot-3") is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"entrypoint": "python -c 'import os'"}, "spec.entrypoint"),
        ({"backoffLimit": 3}, "spec.backoffLimit"),
        ({"rayClusterSpec": {"authOptions": {"mode": "disabled"}}}, "spec.rayClusterSpec.authOptions"),
        ({"rayClusterSpec": {"enableInTreeAutoscaling": True}}, "spec.rayClusterSpec.enableInTreeAutoscaling"),
        (
            {"rayClusterSpec": {"headGroupSpec": {"template": {"spec": {"serviceAccountName": "default"}}}}},
            "spec.rayClusterSpec.headGroupSpec.template.spec.serviceAccountName",
        ),
    ],
    ids=["entrypoint", "retries", "no token", "autoscaling", "account"],
)
async def test_an_edit_that_takes_a_safeguard_ends_the_attempt_uncharged_and_another_one_starts_with_it(
    operator: Operator, change: dict[str, Any], named: str
) -> None:
    await operator.create(resource(runPolicy={"maxAttempts": 1}))
    before = await started(operator)
    await operator.client.patch(RAY_JOBS, "bot-1", operator.namespace, {"spec": change})

    async def ended() -> bool:
        return await outcomes(operator) == [("Interrupted", "KubeRayUnsafe")]

    await operator.run_until(ended, "ended")
    assert named in (await operator.status("bot"))["attempts"][0]["message"]
    after = await started(operator, attempt=2)
    assert await operator.find(RAY_JOBS, "bot-1") is None
    for name in ("entrypoint", "backoffLimit", "shutdownAfterJobFinishes"):
        assert after["spec"][name] == before["spec"][name]
    assert after["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert await outcomes(operator) == [("Interrupted", "KubeRayUnsafe"), (None, None)]


async def test_an_edit_that_kuberay_refuses_ends_the_attempt_alone_and_takes_its_cluster_away(operator: Operator) -> None:
    """KubeRay calls a RayJob that it does not accept any more final, and leaves its cluster running."""
    await operator.create(resource(runPolicy={"maxAttempts": 2}))
    await started(operator)
    await operator.client.patch(RAY_JOBS, "bot-1", operator.namespace, {"spec": {"shutdownAfterJobFinishes": False}})
    await operator.run_until(lambda: operator.has_condition("bot", "Running", "False", "Retrying"), "seen as refused")
    message = (await operator.status("bot"))["attempts"][0]["message"]
    assert "KubeRay refuses the RayJob bot-1, which it had accepted before; somebody has changed it" in message
    await started(operator, attempt=2)
    assert await operator.names(PODS, "finetune.dev/attempt=1") == []
    assert await outcomes(operator) == [("Failed", "RayJobInvalid"), (None, None)]


async def test_an_edit_of_image_or_replicas_changes_nothing_of_what_runs(operator: Operator) -> None:
    """KubeRay makes the cluster from a RayJob once."""
    await operator.create(resource(distributed={"workers": 2}))
    ray_job = await started(operator)
    name = ray_job["status"]["rayClusterName"]

    async def three_pods() -> bool:
        return len(await operator.names(PODS)) == 3

    await operator.run_until(three_pods, "three pods")
    cluster, pods = await operator.client.get(RAY_CLUSTERS, name, operator.namespace), sorted(await operator.names(PODS))
    [group] = ray_job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    [container] = group["template"]["spec"]["containers"]
    spec = {**group["template"]["spec"], "containers": [{**container, "image": "registry.example/other:1"}]}
    template = {**group["template"], "spec": spec}
    more = {**group, "replicas": 5, "maxReplicas": 5, "template": template}
    edited = await operator.client.patch(RAY_JOBS, "bot-1", operator.namespace, {"spec": {"rayClusterSpec": {"workerGroupSpecs": [more]}}})
    # KubeRay has seen the edit once it has reacted to a later change of the same object.
    await operator.client.patch(RAY_JOBS, "bot-1", operator.namespace, {"spec": {"suspend": True}})
    assert edited["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"] == 5

    async def suspended() -> bool:
        found = await operator.find(RAY_JOBS, "bot-1")
        return found is not None and found["status"].get("jobDeploymentStatus") == "Suspended"

    assert (await operator.client.get(RAY_CLUSTERS, name, operator.namespace))["spec"] == cluster["spec"]
    assert sorted(await operator.names(PODS)) == pods
    await operator.run_until(suspended, "suspended")


async def test_pods_that_a_quota_refuses_are_what_the_attempt_is_said_to_wait_for(operator: Operator) -> None:
    quota = {"metadata": {"name": "none", "namespace": operator.namespace}, "spec": {"hard": {"pods": "0"}}}
    await operator.client.create(QUOTAS, {"apiVersion": "v1", "kind": "ResourceQuota", **quota})
    await operator.create(resource())

    async def told() -> str | None:
        message = str((await operator.condition("bot", "Running")).get("message", ""))
        return message if "exceeded quota: none" in message else None

    message = await operator.run_until(told, "told of the quota")
    assert message.startswith("attempt 1: KubeRay cannot create or delete pods of the Ray cluster: FailedCreateHeadPod: ")
    await operator.client.delete(QUOTAS, "none", operator.namespace)
    await started(operator)


async def test_a_ray_cluster_that_somebody_suspends_is_what_the_attempt_is_said_to_wait_for(operator: Operator) -> None:
    await operator.create(resource())
    name = (await started(operator))["status"]["rayClusterName"]
    await operator.client.patch(RAY_CLUSTERS, name, operator.namespace, {"spec": {"suspend": True}})

    async def told() -> bool:
        return "the Ray cluster was suspended by somebody else" in (await operator.condition("bot", "Running")).get("message", "")

    await operator.run_until(told, "told of the suspension")


async def test_the_status_leads_to_the_dashboard_and_its_token_and_pods_say_where_their_metrics_are(operator: Operator) -> None:
    await operator.create(resource())
    ray_job = await started(operator)
    cluster = ray_job["status"]["rayClusterName"]
    dashboard = (await operator.status("bot"))["dashboard"]
    services = (await operator.client.list_all(Resource("", "v1", "services", "Service"), operator.namespace)).items
    [head] = [each for each in services if each["metadata"]["name"] == dashboard["service"]]
    assert (dashboard["port"], dashboard["tokenSecret"]) == (8265, cluster)
    assert dashboard["port"] in [port["port"] for port in head["spec"]["ports"]]
    secret = await operator.client.get(Resource("", "v1", "secrets", "Secret"), dashboard["tokenSecret"], operator.namespace)
    assert "auth_token" in secret["data"]
    for pod in (await operator.client.list_all(PODS, operator.namespace, label_selector=f"ray.io/cluster={cluster}")).items:
        annotations = pod["metadata"]["annotations"]
        ports = {port["containerPort"] for container in pod["spec"]["containers"] for port in container.get("ports", [])}
        assert (annotations["prometheus.io/scrape"], annotations["prometheus.io/path"]) == ("true", "/metrics")
        assert int(annotations["prometheus.io/port"]) in ports
