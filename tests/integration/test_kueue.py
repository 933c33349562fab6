"""Jobs in a queue: the real Kueue and the real KubeRay on a control plane of their own, whose RayJobs wait for Kueue's webhooks.

No pods run; the test plays the driver, and the Ray job's state.
"""

import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

from controller.jobdefaults import JobDefaults
from controller.kinds import FINE_TUNE_JOBS, PRIORITY_LABEL, QUEUE_LABEL, RAY_CLUSTERS, RAY_JOBS, WORKLOADS
from controller.runtime.errors import AlreadyExists
from controller.runtime.resources import CONFIG_MAPS, PODS, Resource
from tests.builders import resource
from tests.cluster.controlplane import ControlPlane, start_control_plane
from tests.cluster.fixtures import interrupted_by_sigterm
from tests.cluster.instances import sweep
from tests.cluster.kueue import start_kueue
from tests.controller.job.builders import Settings, checkpoint
from tests.integration.jobs import Operator
from tests.integration.test_job_lifecycle import columns, report

pytestmark = pytest.mark.integration

GROUP, VERSION = WORKLOADS.group, WORKLOADS.version
FLAVORS = Resource(GROUP, VERSION, "resourceflavors", "ResourceFlavor", namespaced=False)
CLUSTER_QUEUES = Resource(GROUP, VERSION, "clusterqueues", "ClusterQueue", namespaced=False)
LOCAL_QUEUES = Resource(GROUP, VERSION, "localqueues", "LocalQueue")
PRIORITIES = Resource(GROUP, VERSION, "workloadpriorityclasses", "WorkloadPriorityClass", namespaced=False)
ENOUGH_FOR_ONE = {"cpu": "2", "memory": "6Gi"}
"""Of the jobs below, with one worker: head and submitter are counted too."""
SMALL = {"cpu": "1", "memory": "1Gi"}


@pytest.fixture(scope="module")
def control_plane() -> Iterator[ControlPlane]:
    """A control plane of this file's own: Kueue's webhooks are about all RayJobs of a cluster."""
    sweep()
    with interrupted_by_sigterm():
        plane = start_control_plane()
        try:
            plane.start_kuberay()
            yield plane
        finally:
            plane.stop()


@pytest.fixture(scope="module")
def kueue(control_plane: ControlPlane) -> ControlPlane:
    """Kueue on the control plane: a test that comes before the first that asks for it runs without."""
    start_kueue(control_plane)
    return control_plane


@pytest.fixture
async def operator(control_plane: ControlPlane, account: Any) -> AsyncIterator[Operator]:
    async with await Operator.connect(control_plane.kubeconfig, account, f"jobs-{uuid.uuid4().hex[:8]}") as operator:
        await operator.claim("models")
        await operator.config_map("rows", **{"train.jsonl": '{"prompt": "a", "completion": "b"}'})
        yield operator


def queued_job(name: str = "bot", *, priority: str | None = None, **sections: Any) -> dict[str, Any]:
    job = resource(name, **{"resources": SMALL, **sections})
    labels = {QUEUE_LABEL: "team-a", **({PRIORITY_LABEL: priority} if priority else {})}
    return {**job, "metadata": {**job["metadata"], "labels": labels}}


async def create(operator: Operator, kind: Resource, name: str, **content: Any) -> None:
    """Create an object of Kueue's, unless an earlier test has."""
    namespace = {"namespace": operator.namespace} if kind.namespaced else {}
    item = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name, **namespace}, **content}
    with contextlib.suppress(AlreadyExists):
        await operator.client.create(kind, item)


async def queue(operator: Operator, **quota: str) -> str:
    """Create the queue of the namespace; return the name of its ClusterQueue, in which higher priorities preempt."""
    name = operator.namespace
    await create(operator, FLAVORS, "default", spec={})
    flavor = {"name": "default", "resources": [{"name": each, "nominalQuota": amount} for each, amount in quota.items()]}
    groups = [{"coveredResources": list(quota), "flavors": [flavor]}]
    spec = {"namespaceSelector": {}, "resourceGroups": groups, "preemption": {"withinClusterQueue": "LowerPriority"}}
    await create(operator, CLUSTER_QUEUES, name, spec=spec)
    await create(operator, LOCAL_QUEUES, "team-a", spec={"clusterQueue": name})
    return name


async def told(operator: Operator, name: str, value: str, reason: str, words: str = "") -> dict[str, Any]:
    """Pass until the condition Queued says so."""

    async def says() -> dict[str, Any] | None:
        found = await operator.condition(name, "Queued")
        return found if (found.get("status"), found.get("reason")) == (value, reason) and words in found["message"] else None

    return dict(await operator.run_until(says, f"Queued={value}, {reason}, {words!r}"))


async def cluster_of(operator: Operator, name: str = "bot-1", other_than: str = "") -> dict[str, Any]:
    """Pass until KubeRay has a Ray cluster for the RayJob, and the controller knows; return the RayJob."""

    async def ready() -> dict[str, Any] | None:
        ray_job = await operator.find(RAY_JOBS, name) or {}
        cluster = (ray_job.get("status") or {}).get("rayClusterName") or ""
        known = ((await operator.status(name.rpartition("-")[0])).get("dashboard") or {}).get("service")
        return ray_job if cluster not in ("", other_than) and known == f"{cluster}-head-svc" else None

    return dict(await operator.run_until(ready, f"a Ray cluster of {name}"))


async def test_without_kueue_a_job_with_a_queue_says_what_is_missing_and_kueue_that_comes_takes_it(
    operator: Operator, request: pytest.FixtureRequest
) -> None:
    await operator.create(queued_job())
    said = await told(operator, "bot", "False", "KueueMissing")
    assert "the RayJob bot-1 is suspended for the queue team-a, and the cluster serves no Workloads" in said["message"]
    assert (await operator.status("bot"))["phase"] == "Waiting"
    request.getfixturevalue("kueue")
    await queue(operator, **ENOUGH_FOR_ONE)
    await cluster_of(operator)


@pytest.mark.usefixtures("kueue")
async def test_a_job_waits_for_quota_and_says_what_is_missing_until_it_is_admitted(operator: Operator) -> None:
    cluster_queue = await queue(operator, cpu="1", memory="6Gi")
    await operator.create(queued_job())
    said = await told(operator, "bot", "True", "Pending", "insufficient quota for cpu")
    assert "waits in the queue team-a since" in said["message"]
    assert (await columns(operator))[:2] == ["bot", "Queued"]
    assert "Pending" in await columns(operator)
    assert await operator.names(PODS) == []

    resources = [{"name": name, "nominalQuota": amount} for name, amount in ENOUGH_FOR_ONE.items()]
    groups = [{"coveredResources": list(ENOUGH_FOR_ONE), "flavors": [{"name": "default", "resources": resources}]}]
    await operator.client.patch(CLUSTER_QUEUES, cluster_queue, None, {"spec": {"resourceGroups": groups}})
    ray_job = await cluster_of(operator)
    assert not ray_job["spec"].get("suspend")
    said = await operator.condition("bot", "Queued")
    assert (said["status"], said["reason"]) == ("False", "Admitted")
    assert said["message"] == f"attempt 1 was admitted by the ClusterQueue {cluster_queue}"


@pytest.mark.usefixtures("kueue")
async def test_a_job_whose_queue_is_not_there_says_so_and_fails_once_it_has_waited_for_too_long(operator: Operator) -> None:
    await operator.create(queued_job(runPolicy={"pendingDeadlineSeconds": 600}))
    await told(operator, "bot", "False", "Inadmissible", "LocalQueue team-a doesn't exist; put that right")
    status = await operator.status("bot")
    assert (status["phase"], status["summary"]["reason"]) == ("Waiting", "Inadmissible")
    operator.ahead = timedelta(seconds=601)
    await operator.run_until(lambda: operator.has_condition("bot", "Failed", "True"), "failed")
    failed = await operator.condition("bot", "Failed")
    assert failed["reason"] == "PendingDeadlineExceeded"
    assert "LocalQueue team-a doesn't exist" in failed["message"]


@pytest.mark.usefixtures("kueue")
async def test_a_job_in_a_stopped_queue_waits_in_it_and_one_that_is_deactivated_waits_for_somebody(operator: Operator) -> None:
    cluster_queue = await queue(operator, cpu="1", memory="6Gi")
    # Kueue says nothing more of a Workload that it has found no room for before the queue was stopped.
    await operator.client.patch(CLUSTER_QUEUES, cluster_queue, None, {"spec": {"stopPolicy": "Hold"}})

    async def stopped() -> bool:
        item = await operator.client.get(CLUSTER_QUEUES, cluster_queue, None)
        conditions = (item.get("status") or {}).get("conditions") or []
        return any((each["type"], each["status"]) == ("Active", "False") for each in conditions)

    await operator.run_until(stopped, "the queue is stopped")
    await operator.create(queued_job())
    await told(operator, "bot", "True", "Inadmissible", f"ClusterQueue {cluster_queue} is inactive")
    [workload] = await operator.names(WORKLOADS, None)
    await operator.client.patch(WORKLOADS, workload, operator.namespace, {"spec": {"active": False}})
    await told(operator, "bot", "False", "Deactivated", "set its spec.active to true")
    assert (await operator.status("bot"))["phase"] == "Waiting"


async def running(operator: Operator, name: str = "bot") -> dict[str, Any]:
    """Play KubeRay and the driver: the attempt runs, and has published the checkpoint of step 20; return its RayJob."""
    ray_job = await cluster_of(operator, f"{name}-1")
    await operator.end_ray_job(f"{name}-1", jobStatus="RUNNING", jobDeploymentStatus="Running")
    await report(operator, ray_job, checkpoints=[checkpoint(20)])

    async def runs() -> bool:
        status = await operator.status(name)
        return status["phase"] == "Running" and status.get("reportCursor") == f"1/{ray_job['status']['rayClusterName']}/3"

    await operator.run_until(runs, "running")
    return ray_job


async def cluster_gone(operator: Operator, name: str = "bot-1") -> None:
    async def gone() -> bool:
        ray_job = await operator.find(RAY_JOBS, name) or {}
        clusters = await operator.names(RAY_CLUSTERS, f"ray.io/originated-from-cr-name={name}")
        return ray_job["status"]["jobDeploymentStatus"] == "Suspended" and clusters == []

    await operator.run_until(gone, "without a Ray cluster")


@pytest.mark.usefixtures("kueue")
async def test_a_job_that_is_evicted_in_mid_run_goes_on_in_the_same_attempt_and_is_not_charged(operator: Operator) -> None:
    cluster_queue = await queue(operator, **ENOUGH_FOR_ONE)
    await operator.create(queued_job(runPolicy={"maxAttempts": 1}))
    first = await running(operator)
    old = first["status"]["rayClusterName"]
    assert (await operator.status("bot"))["dashboard"]["service"] == f"{old}-head-svc"

    await operator.client.patch(CLUSTER_QUEUES, cluster_queue, None, {"spec": {"stopPolicy": "HoldAndDrain"}})
    said = await told(operator, "bot", "True", "ClusterQueueStopped")
    assert "attempt 1 was evicted and waits again in the queue team-a" in said["message"]
    await cluster_gone(operator)
    # What the evicted driver says now is late: its place belongs to the next cluster.
    success = {"result": "Succeeded", "reason": "Succeeded", "message": "done"}
    await report(operator, first, sequence=9, outcome=success, checkpoints=[checkpoint(80)])
    for _ in range(3):
        await operator.pass_once()
    status = await operator.status("bot")
    assert (status["phase"], status["summary"]["reason"]) == ("Queued", "ClusterQueueStopped")
    assert "dashboard" not in status
    assert status["reportCursor"] == f"1/{old}/3"
    assert [each["step"] for each in status["checkpoints"]] == [20]
    assert [(each["number"], each.get("outcome")) for each in status["attempts"]] == [(1, None)]

    await operator.client.patch(CLUSTER_QUEUES, cluster_queue, None, {"spec": {"stopPolicy": "None"}})
    again = await cluster_of(operator, other_than=old)
    assert again["metadata"]["uid"] == first["metadata"]["uid"]
    assert (await operator.condition("bot", "Queued"))["reason"] == "Admitted"
    await report(operator, again, sequence=1, resumedFromStep=20, checkpoints=[checkpoint(20), checkpoint(40)])
    await operator.pass_once()
    status = await operator.status("bot")
    assert status["reportCursor"] == f"1/{again['status']['rayClusterName']}/1"
    [attempt] = status["attempts"]
    assert (attempt["number"], attempt["resumedFromStep"], attempt.get("outcome")) == (1, 20, None)

    await report(operator, again, sequence=2, outcome=success, checkpoints=[checkpoint(20), checkpoint(40)])
    await operator.end_ray_job("bot-1", jobStatus="SUCCEEDED", jobDeploymentStatus="Complete")
    await operator.run_until(lambda: operator.has_condition("bot", "Succeeded", "True"), "succeeded")
    assert operator.log.reasons.count("ClusterQueueStopped") == 1


@pytest.mark.usefixtures("kueue")
async def test_a_job_of_higher_priority_preempts_one_which_says_so_and_comes_back(operator: Operator) -> None:
    await queue(operator, **ENOUGH_FOR_ONE)
    for name, value in (("low", 1), ("high", 100)):
        await create(operator, PRIORITIES, name, value=value, description=name)
    await operator.create(queued_job("bot", priority="low"))
    first = await running(operator)
    await operator.create(queued_job("urgent", priority="high"))
    said = await told(operator, "bot", "True", "Preempted")
    assert "Preempted to accommodate a workload" in said["message"]
    await cluster_of(operator, "urgent-1")
    said = await told(operator, "bot", "True", "Preempted", "insufficient unused quota")
    assert len((await operator.status("bot"))["attempts"]) == 1

    await operator.client.delete(FINE_TUNE_JOBS, "urgent", operator.namespace)
    await cluster_of(operator, other_than=first["status"]["rayClusterName"])
    assert [(each["number"], each.get("outcome")) for each in (await operator.status("bot"))["attempts"]] == [(1, None)]


@pytest.mark.usefixtures("kueue")
async def test_a_queued_job_that_its_user_suspends_leaves_the_queue_and_comes_back_as_another_attempt(operator: Operator) -> None:
    await queue(operator, cpu="1", memory="6Gi")
    await operator.create(queued_job())
    await told(operator, "bot", "True", "Pending")
    await operator.set_suspend("bot", True)

    async def nothing_left() -> bool:
        return await operator.names(RAY_JOBS) == [] and await operator.names(WORKLOADS, None) == []

    await operator.run_until(nothing_left, "out of the queue")
    assert (await operator.status("bot"))["phase"] == "Suspended"
    await operator.set_suspend("bot", False)
    said = await told(operator, "bot", "True", "Pending")
    assert "attempt 2 waits in the queue team-a" in said["message"]


@pytest.mark.usefixtures("kueue")
async def test_a_queued_job_that_is_deleted_leaves_nothing(operator: Operator) -> None:
    await queue(operator, cpu="1", memory="6Gi")
    await operator.create(queued_job())
    await told(operator, "bot", "True", "Pending")
    await operator.client.delete(FINE_TUNE_JOBS, "bot", operator.namespace)

    async def all_gone() -> bool:
        kinds = [*(await operator.names(RAY_JOBS)), *(await operator.names(CONFIG_MAPS)), *(await operator.names(WORKLOADS, None))]
        return kinds == []

    await operator.run_until(all_gone, "gone")


@pytest.mark.usefixtures("kueue")
async def test_a_job_without_a_label_waits_in_the_queue_that_is_the_default_of_its_namespace(operator: Operator) -> None:
    cluster_queue = await queue(operator, **ENOUGH_FOR_ONE)
    operator.settings = Settings(defaults=JobDefaults(queue_name="team-a"))
    await operator.create(queued_job("first"))
    await cluster_of(operator, "first-1")
    await operator.create(resource(resources=SMALL))
    said = await told(operator, "bot", "True", "Pending", "insufficient")
    assert "attempt 1 waits in the queue team-a since" in said["message"]
    await operator.client.delete(FINE_TUNE_JOBS, "first", operator.namespace)
    await cluster_of(operator)
    assert (await operator.condition("bot", "Queued"))["message"] == f"attempt 1 was admitted by the ClusterQueue {cluster_queue}"


@pytest.mark.usefixtures("kueue")
async def test_a_job_without_a_queue_runs_beside_them(operator: Operator) -> None:
    await operator.create(resource())
    ray_job = await cluster_of(operator)
    assert not ray_job["spec"].get("suspend")
    assert await operator.condition("bot", "Queued") == {}
