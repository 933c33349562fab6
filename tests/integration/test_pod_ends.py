"""What becomes of an attempt that loses a pod: the real scheduler, eviction API and taint manager end it, the real KubeRay reacts, the
controller watches as a process of its own. Nobody runs the pods: their kubelet, the driver and its last words are played.
"""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.controller.job.builders import checkpoint
from tests.integration.attempts import OF_FIRST, Attempt
from tests.integration.kubelet import KILLED, Kubelet
from tests.integration.processes import JOBS, Process, wait

pytestmark = [pytest.mark.integration, pytest.mark.fault]


@pytest.fixture(scope="module")
def controller(control_plane: ControlPlane, account: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(account, tmp_path_factory.mktemp("ends"), "ends")
    try:
        wait(process.leads, f"leads; its log is {process.log}")
        yield process
    finally:
        process.end()


Begin = Callable[..., Attempt]


@pytest.fixture
def attempt(control_plane: ControlPlane, controller: Process, namespace: str) -> Iterator[Begin]:
    nodes: list[str] = []

    def begin(rule: dict[str, Any] | None = None, *, attempts: int = 3, cpu: str = "64", **sections: Any) -> Attempt:
        nodes.append(f"node-{uuid.uuid4().hex[:6]}")
        policy: dict[str, Any] = {"maxAttempts": attempts, **({"failureRules": [rule]} if rule else {})}
        kubelet = Kubelet(control_plane.api, nodes[0], namespace, {"cpu": cpu})
        return Attempt(control_plane, namespace, kubelet, runPolicy=policy, **sections)

    yield begin
    control_plane.api.request("DELETE", JOBS.format(namespace))
    control_plane.api.request("DELETE", f"/api/v1/namespaces/{namespace}/pods?gracePeriodSeconds=0")
    for node in nodes:
        if control_plane.api.exists(f"/api/v1/nodes/{node}"):
            control_plane.api.request("DELETE", f"/api/v1/nodes/{node}")


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((each for each in status["conditions"] if each["type"] == kind), {})


def test_a_worker_that_ran_out_of_memory_is_what_the_attempt_died_of_and_the_next_one_waits_for_the_last_pod(attempt: Begin) -> None:
    first = attempt()
    first.kubelet.end(first.worker, KILLED, "OOMKilled")
    wait(lambda: first.kubelet.is_gone(first.worker), "KubeRay has deleted the pod")
    ended = first.driver_fails()

    assert (ended["outcome"], ended["reason"], ended["lastStep"]) == ("Failed", "OutOfMemory", 20)
    name = first.worker["metadata"]["name"]
    assert ended["failedPod"] == {"name": name, "node": first.kubelet.node, "reason": "OOMKilled", "exitCode": KILLED}
    assert f"pod {name} ran out of memory; raise resources.memory" in ended["message"]
    assert "charged" not in ended
    assert condition(first.status(), "Running")["reason"] == "Retrying"
    assert not first.has_ray_job(2), "the head still runs"
    first.clear()
    wait(lambda: first.has_ray_job(2), "the next attempt")


CRITERIA: list[dict[str, Any]] = [{"exitCodes": [KILLED]}, {"podReasons": ["OOMKilled"]}, {"reasons": ["OutOfMemory"]}]


@pytest.mark.parametrize("criterion", CRITERIA, ids=["exit code", "pod's reason", "reason"])
def test_a_rule_sees_what_killed_a_pod_that_is_gone(attempt: Begin, criterion: dict[str, Any]) -> None:
    first = attempt({**criterion, "action": "Fail"})
    first.kubelet.end(first.worker, KILLED, "OOMKilled")
    wait(lambda: first.kubelet.is_gone(first.worker), "KubeRay has deleted the pod")
    first.driver_fails()

    failed = condition(first.status(), "Failed")
    assert (failed["status"], failed["reason"]) == ("True", "OutOfMemory")
    assert "(runPolicy.failureRules[0]: Fail)" in failed["message"]
    assert len(first.attempts()) == 1


def test_a_job_whose_head_was_evicted_is_not_charged_where_a_rule_says_so_and_goes_on(attempt: Begin) -> None:
    first = attempt({"podReasons": ["Evicted"], "action": "RetryWithoutCharge"}, attempts=1)
    first.kubelet.evict(first.head)
    wait(lambda: first.kubelet.is_gone(first.head), "KubeRay has deleted the pod")
    # The submitter finds no head, and KubeRay gives up with it.
    wait(first.submitter_fails, "KubeRay has ended the RayJob", seconds=180)
    assert first.ray_job()["status"]["reason"] == "SubmissionFailed"

    ended = first.ends()
    assert (ended["outcome"], ended["reason"], ended["charged"]) == ("Failed", "PodDisrupted", False)
    name, node = first.head["metadata"]["name"], first.kubelet.node
    assert ended["failedPod"] == {"name": name, "node": node, "reason": "Evicted", "exitCode": KILLED}
    assert ended["node"] == node
    assert ended["message"].startswith(f"pod {name} on node {node}: Evicted; Job submission has failed")
    first.kubelet_follows(OF_FIRST)
    wait(lambda: first.has_ray_job(2), "the next attempt, although only one may fail")


def test_a_worker_that_the_scheduler_preempted_is_told_from_one_that_failed_after_it_is_gone(
    attempt: Begin, control_plane: ControlPlane
) -> None:
    control_plane.start_scheduler()
    try:
        first = attempt({"podReasons": ["PreemptionByScheduler"], "action": "RetryWithoutCharge"}, attempts=1, cpu="1500m")
        first.kubelet.preempt(cpu="1")
        wait(lambda: first.kubelet.is_told_to_stop(first.worker), "the scheduler has preempted the worker")
        first.kubelet.take_away(first.worker)
    finally:
        control_plane.stop_scheduler()
    ended = first.driver_fails()

    assert (ended["outcome"], ended["reason"], ended["charged"]) == ("Failed", "PodDisrupted", False)
    name, node = first.worker["metadata"]["name"], first.kubelet.node
    assert ended["failedPod"] == {"name": name, "node": node, "reason": "PreemptionByScheduler"}
    assert f"pod {name} on node {node}: PreemptionByScheduler" in ended["message"]
    first.clear()
    wait(lambda: first.has_ray_job(2), "the next attempt, although only one may fail")


def drain(first: Attempt) -> None:
    name, path = first.worker["metadata"]["name"], f"/api/v1/namespaces/{first.namespace}/pods"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": first.namespace}}
    first.plane.api.request("POST", f"{path}/{name}/eviction", eviction)


@pytest.mark.parametrize(
    ("disrupt", "reason"),
    [
        pytest.param(drain, "EvictionByEvictionAPI", id="drained"),
        pytest.param(lambda first: first.kubelet.taint(), "DeletionByTaintManager", id="tainted"),
    ],
)
def test_a_worker_that_had_to_leave_its_node_is_named_and_charged_without_a_rule(
    attempt: Begin, disrupt: Callable[[Attempt], None], reason: str
) -> None:
    first = attempt(attempts=1)
    disrupt(first)
    wait(lambda: first.kubelet.is_told_to_stop(first.worker), "the worker is told to stop")
    first.kubelet.take_away(first.worker)
    ended = first.driver_fails()

    assert (ended["outcome"], ended["reason"]) == ("Failed", "PodDisrupted")
    assert ended["failedPod"]["reason"] == reason
    assert ended["failedPod"]["node"] == first.kubelet.node
    failed = condition(first.status(), "Failed")
    assert (failed["status"], failed["reason"]) == ("True", "AttemptsExhausted")
    assert f": {reason}; ActorDiedError" in failed["message"]


def test_a_trainer_that_was_told_to_stop_with_its_pod_is_interrupted_and_not_charged(attempt: Begin) -> None:
    first = attempt({"podReasons": ["EvictionByEvictionAPI"], "action": "Fail"}, attempts=1)
    drain(first)
    wait(lambda: first.kubelet.is_told_to_stop(first.worker), "the worker is told to stop")
    stopped = {"result": "Interrupted", "reason": "Interrupted", "message": "SIGTERM; checkpoint of step 22 is written"}
    first.report(sequence=9, outcome=stopped, checkpoints=[checkpoint(22)])
    first.kubelet.take_away(first.worker)
    first.play(jobStatus="FAILED", jobDeploymentStatus="Failed", reason="AppFailed", message="failed with exit code 3")

    ended = first.ends()
    assert (ended["outcome"], ended["reason"]) == ("Interrupted", "Interrupted")
    first.clear()
    wait(lambda: first.has_ray_job(2), "the next attempt: no rule judges what was interrupted")


@pytest.mark.slow
def test_pods_whose_node_is_lost_are_named_with_it(attempt: Begin, control_plane: ControlPlane) -> None:
    first = attempt(attempts=1)
    control_plane.api.request("DELETE", f"/api/v1/nodes/{first.kubelet.node}")
    for pod in (first.head, first.worker):
        wait(lambda pod=pod: first.kubelet.is_gone(pod), "the garbage collector of pods has removed it", seconds=150)
    first.play(jobStatus="FAILED", jobDeploymentStatus="Failed", reason="SubmissionFailed", message="Job submission has failed.")

    ended = first.ends()
    assert (ended["outcome"], ended["reason"]) == ("Failed", "PodDisrupted")
    assert (ended["failedPod"]["reason"], ended["failedPod"]["node"]) == ("DeletionByPodGC", first.kubelet.node)
