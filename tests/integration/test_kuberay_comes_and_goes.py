"""KubeRay's definitions come late, are too old, go and come back: jobs say so and go on by themselves, on an API server without KubeRay."""

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import resource
from tests.cluster.controlplane import ControlPlane, start_control_plane
from tests.cluster.fixtures import interrupted_by_sigterm
from tests.cluster.instances import sweep
from tests.cluster.kuberay import DEFINITIONS, rayjob_definition
from tests.integration.accounts import controllers_account
from tests.integration.processes import CLAIM, CLAIMS, CONFIG_MAPS, JOBS, ROWS, Process, create, wait
from tests.integration.wire import Wire

pytestmark = [pytest.mark.integration, pytest.mark.fault]

RAY_JOBS = f"{DEFINITIONS}/rayjobs.ray.io"
QUIET_SECONDS = 15.0
SOON_SECONDS = 60.0
"""The longest pause between two looks for a kind that is missing is 37.5 s."""


@pytest.fixture(scope="module")
def bare() -> Iterator[ControlPlane]:
    """A control plane without KubeRay; the session's has it."""
    sweep()
    with interrupted_by_sigterm():
        plane = start_control_plane()
        try:
            yield plane
        finally:
            plane.stop()


@pytest.fixture(scope="module")
def account(bare: ControlPlane) -> Path:
    return controllers_account(bare)


@pytest.fixture(scope="module")
def definition() -> dict[str, Any]:
    return rayjob_definition()


def serving(definition: dict[str, Any], *versions: str) -> dict[str, Any]:
    """Return the definition with these versions served, and no others."""
    every = [{**each, "served": each["name"] in versions} for each in definition["spec"]["versions"]]
    return {**definition, "spec": {**definition["spec"], "versions": every}}


class Stage:
    """A controller that runs, and a job in a namespace of its own."""

    def __init__(self, plane: ControlPlane, wire: Wire, namespace: str, log: Path) -> None:
        self.plane, self.wire, self.namespace, self._log = plane, wire, namespace, log

    def begin(self) -> None:
        self.controller = Process(self.wire.kubeconfig, self._log, "bare")
        self.plane.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        create(self.plane, self.namespace, CONFIG_MAPS, ROWS)
        create(self.plane, self.namespace, CLAIMS, CLAIM)
        create(self.plane, self.namespace, JOBS, resource("bot", runPolicy={"maxAttempts": 1}))

    def end(self) -> None:
        self.controller.end()
        self.plane.api.request("DELETE", f"/apis/finetune.dev/v1alpha1/namespaces/{self.namespace}/finetunejobs")
        self.remove()

    def path(self, kind: str, name: str) -> str:
        return f"/apis/{kind}/namespaces/{self.namespace}/{name}"

    @property
    def status(self) -> dict[str, Any]:
        return self.plane.api.get(self.path("finetune.dev/v1alpha1", "finetunejobs/bot")).get("status") or {}

    def said(self, kind: str) -> tuple[str, str, str]:
        conditions = self.status.get("conditions") or []
        return next(((each["status"], each["reason"], each["message"]) for each in conditions if each["type"] == kind), ("", "", ""))

    def waits_for(self, kind: str, value: str, reason: str) -> float:
        return wait(lambda: self.said(kind)[:2] == (value, reason), f"{kind}={value} {reason}")

    def ray_job(self, attempt: int = 1) -> str:
        return self.path("ray.io/v1", f"rayjobs/bot-{attempt}")

    def install(self, definition: dict[str, Any]) -> None:
        self.plane.api.apply(RAY_JOBS, json.dumps(definition).encode())
        self.plane.api.wait_for(RAY_JOBS, "Established")

    def remove(self) -> None:
        if self.plane.api.exists(RAY_JOBS):
            self.plane.api.request("DELETE", RAY_JOBS)
        wait(lambda: not self.plane.api.exists(RAY_JOBS), "no definition")

    def asked_again(self) -> None:
        """Wait until the controller has looked for RayJobs once more."""
        begin = time.monotonic()
        looked = lambda: [each for each in list(self.wire.sent) if each.at > begin and "/rayjobs" in each.path and each.status]  # noqa: E731
        wait(lambda: bool(looked()), "another look for RayJobs")


@pytest.fixture
def job(bare: ControlPlane, account: Path, tmp_path: Path) -> Iterator[Stage]:
    """Before it begins, so that a test may install a definition first."""
    with Wire(bare, account, tmp_path, "bare") as wire:
        stage = Stage(bare, wire, f"bare-{uuid.uuid4().hex[:8]}", tmp_path)
        try:
            yield stage
        finally:
            stage.end()


def test_a_job_waits_for_kuberay_that_is_missing_or_too_old_and_starts_when_it_comes(job: Stage, definition: dict[str, Any]) -> None:
    job.begin()
    job.waits_for("Accepted", "False", "KubeRayMissing")
    message = job.said("Accepted")[2]
    assert "the cluster serves no RayJobs of ray.io/v1" in message
    assert "install KubeRay 1.6" in message
    assert (job.status["phase"], job.controller.ready()) == ("Waiting", True)

    begin = time.monotonic()
    time.sleep(QUIET_SECONDS)
    asked = job.wire.between(begin, time.monotonic())
    looks = Counter(each.kind for each in asked)
    assert set(looks) <= {"rayjobs", "workloads"}, job.wire.summary(begin, time.monotonic())  # neither is served
    assert max(looks.values(), default=0) <= 10

    job.install(serving(definition, "v1alpha1"))
    job.asked_again()
    assert job.said("Accepted")[:2] == ("False", "KubeRayMissing")
    assert "v1alpha1 alone" in job.said("Accepted")[2]

    job.install(serving(definition, "v1", "v1alpha1"))
    took = wait(lambda: job.plane.api.exists(job.ray_job()), "a RayJob", seconds=SOON_SECONDS)
    print(f"the RayJob was there {took:.0f} s after the definition")
    assert job.said("Accepted")[0] == "True"
    assert job.controller.ask("/healthz") == (200, "ok\n")


def test_an_attempt_outlives_that_its_definition_is_off_and_is_followed_by_another_when_it_is_deleted(
    job: Stage, definition: dict[str, Any]
) -> None:
    job.install(serving(definition, "v1", "v1alpha1"))
    job.begin()
    wait(lambda: job.plane.api.exists(job.ray_job()), "a RayJob", seconds=SOON_SECONDS)
    runs = {"status": {"jobStatus": "RUNNING", "jobDeploymentStatus": "Running", "rayClusterName": "bot-1-x7k2p"}}
    job.plane.api.request("PATCH", f"{job.ray_job()}/status", runs, "application/merge-patch+json")
    job.waits_for("Running", "True", "TrainerRunning")

    job.install(serving(definition, "v1alpha1"))
    job.waits_for("Running", "False", "KubeRayMissing")
    assert (job.status["phase"], job.controller.ready()) == ("Waiting", True)
    job.install(serving(definition, "v1", "v1alpha1"))
    job.waits_for("Running", "True", "TrainerRunning")
    assert [each.get("outcome") for each in job.status["attempts"]] == [None]

    job.remove()
    job.waits_for("Accepted", "False", "KubeRayMissing")
    assert job.controller.ready()
    job.install(serving(definition, "v1", "v1alpha1"))
    wait(lambda: job.plane.api.exists(job.ray_job(2)), "a second RayJob", seconds=2 * SOON_SECONDS)
    first = job.status["attempts"][0]
    assert (first["outcome"], first["reason"]) == ("Interrupted", "KubeRayRemoved")
    assert "KubeRay's definitions were removed" in first["message"]
