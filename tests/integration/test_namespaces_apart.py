"""What somebody forges in another namespace changes nothing about a job that runs, on the real API server with the real KubeRay.

tests/controller/test_namespaces_apart.py does the same with the caches alone.
"""

import contextlib
import copy
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller.job.names import labels, progress_name
from tests.builders import resource
from tests.cluster.api import MERGE, ApiError
from tests.cluster.controlplane import ControlPlane
from tests.controller.job.builders import record_text
from tests.integration.attempts import Attempt
from tests.integration.kubelet import Kubelet
from tests.integration.processes import CLAIM, CLAIMS, CONFIG_MAPS, JOBS, RAY_JOBS, ROWS, Process, create, wait

pytestmark = pytest.mark.integration

PODS = "/api/v1/namespaces/{}/pods"
SUCCESS = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 18.42 -> 1.01"}
RAN_OUT = [{"name": "main", "image": "x", "imageID": "", "ready": False, "restartCount": 0}]
SEEN_SECONDS = 3.0
"""Watches are milliseconds behind; what is forged would have been acted on by then."""


@pytest.fixture
def victim(control_plane: ControlPlane, start: Callable[[str], Process], namespace: str) -> Iterator[Attempt]:
    """A job that trains, with its controller, which watches all namespaces."""
    controller = start("apart")
    wait(controller.leads, f"leads; its log is {controller.log}")
    node = f"node-{uuid.uuid4().hex[:6]}"
    yield Attempt(control_plane, namespace, Kubelet(control_plane.api, node, namespace))
    control_plane.api.request("DELETE", JOBS.format(namespace))
    control_plane.api.request("DELETE", f"{PODS.format(namespace)}?gracePeriodSeconds=0")
    control_plane.api.request("DELETE", f"/api/v1/nodes/{node}")


def forge(victim: Attempt, namespace: str, *, owned: bool) -> list[str]:
    """Create a report of success, a pod that ran out of memory and a failed RayJob that name the job as theirs; return their paths."""
    plane, ray_job = victim.plane, victim.ray_job()
    owners = ray_job["metadata"]["ownerReferences"] if owned else []
    uid = ray_job["metadata"]["ownerReferences"][0]["uid"]

    def put(path: str, name: str, role: str | None = None, **content: Any) -> str:
        metadata = {"name": name, "labels": labels("bot", uid, 1, role), "ownerReferences": owners}
        create(plane, namespace, path, {"metadata": metadata, **content})
        return f"{path.format(namespace)}/{name}"

    def say(path: str, **status: Any) -> None:
        # The garbage collector may be faster, where the owner that it names is not in its namespace.
        with contextlib.suppress(ApiError) if owned else contextlib.nullcontext():
            plane.api.request("PATCH", f"{path}/status", {"status": status}, MERGE)

    record = record_text(cluster=ray_job["status"]["rayClusterName"], sequence=99, stage="Finished", outcome=SUCCESS)
    pod = put(PODS, victim.worker["metadata"]["name"], "worker", spec={"containers": [{"name": "main", "image": "x"}]})
    ended = [{**RAN_OUT[0], "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]
    say(pod, phase="Failed", containerStatuses=ended)
    spec = {**copy.deepcopy(ray_job["spec"]), "suspend": True}
    kind = {"apiVersion": "ray.io/v1", "kind": "RayJob"}
    later = put(RAY_JOBS, "bot-7", **kind, spec=spec)
    say(later, jobStatus="FAILED", jobDeploymentStatus="Failed", message="exit code 1")
    return [pod, later, put(CONFIG_MAPS, progress_name("bot", uid, 1), data={"record.json": record})]


def state(victim: Attempt) -> tuple[Any, list[str]]:
    """The job with its version, which any write would change, and its RayJobs."""
    items = victim.plane.api.get(RAY_JOBS.format(victim.namespace))["items"]
    return victim.plane.api.get(f"{JOBS.format(victim.namespace)}/bot"), [item["metadata"]["uid"] for item in items]


@pytest.mark.parametrize("owned", [False, True], ids=["by label", "by owner too"])
def test_what_is_forged_in_another_namespace_changes_nothing_about_a_job_and_is_taken_for_nobodys(victim: Attempt, owned: bool) -> None:
    plane, elsewhere = victim.plane, f"{victim.namespace}-b"
    plane.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": elsewhere}})
    time.sleep(SEEN_SECONDS)
    before = state(victim)
    assert before[0]["status"]["phase"] == "Running"

    forged = forge(victim, elsewhere, owned=owned)
    time.sleep(SEEN_SECONDS)
    assert state(victim) == before
    assert owned or all(plane.api.exists(path) for path in forged)

    # A job of that name in the other namespace is another one, and what is forged is not taken for its own.
    create(plane, elsewhere, CLAIMS, CLAIM)
    create(plane, elsewhere, CONFIG_MAPS, ROWS)
    create(plane, elsewhere, JOBS, resource("bot"))
    wait(lambda: plane.api.exists(f"{RAY_JOBS.format(elsewhere)}/bot-1"), "the other job has started")
    time.sleep(SEEN_SECONDS)
    [attempt] = plane.api.get(f"{JOBS.format(elsewhere)}/bot")["status"]["attempts"]
    assert attempt["number"] == 1
    assert not {"outcome", "failedPod", "lastStep"} & set(attempt)
    assert state(victim) == before
    plane.api.request("DELETE", f"/api/v1/namespaces/{elsewhere}")
