"""`python -m controller` as the chart runs it: as its own account, with its own rights, on the real API server."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.api import crd
from tests.cluster import binaries
from tests.cluster.controlplane import ControlPlane
from tests.cluster.processes import free_ports
from tests.controller.job.builders import resource

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/finetunejobs.finetune.dev"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/finetune-system/leases/finetune-operator"
LEASE_SECONDS = 4
WAIT_SECONDS = 90.0


@pytest.fixture(scope="module")
def account(control_plane: ControlPlane) -> Path:
    """The controller's account with the rights that the manifests give it, and no others."""
    control_plane.api.apply(DEFINITION, crd.manifest_text().encode())
    control_plane.api.wait_for(DEFINITION, "Established")
    kubectl = [str(binaries.kubectl()), f"--kubeconfig={control_plane.kubeconfig}", "apply", "--server-side"]
    manifests = ROOT / "manifests"
    subprocess.run([*kubectl, "-f", str(manifests / "namespace.yaml"), "-f", str(manifests / "rbac")], check=True, capture_output=True)
    return control_plane.kubeconfig_for_service_account("finetune-system", "finetune-operator")


class Process:
    """A controller that runs, with its log and its probes."""

    def __init__(self, kubeconfig: Path, directory: Path, name: str) -> None:
        (self.port,) = free_ports(1)
        self.log = directory / f"{name}.log"
        environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "POD_NAME": name,
            "TRAINER_IMAGE": "registry.example/trainer:1",
            "FINETUNE_HEALTH_HOST": "127.0.0.1",
            "FINETUNE_HEALTH_PORT": str(self.port),
            "FINETUNE_LEASE_NAMESPACE": "finetune-system",
            "FINETUNE_LEASE_DURATION_SECONDS": str(LEASE_SECONDS),
            "FINETUNE_LEASE_RENEW_DEADLINE_SECONDS": "2.5",
            "FINETUNE_LEASE_RETRY_SECONDS": "0.5",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "controller"], cwd=ROOT, env=environment, stderr=log)

    def ask(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return self.ask("/readyz")[0] == 200

    def leads(self) -> bool:
        return "finetune_controller_leader 1.0" in self.ask("/metrics")[1]

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def start(account: Path, tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    with contextlib.ExitStack() as stack:

        def start_one(name: str) -> Process:
            process = Process(account, tmp_path, name)
            stack.callback(process.end)
            return process

        yield start_one


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    name = f"main-{uuid.uuid4().hex[:8]}"
    control_plane.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return name


def wait(condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"after {seconds:g} s still not: {what}"
        time.sleep(0.05)
    return time.monotonic() - started


def reason_of(plane: ControlPlane, namespace: str, job: str, condition: str) -> str | None:
    item = plane.api.get(f"/apis/finetune.dev/v1alpha1/namespaces/{namespace}/finetunejobs/{job}")
    conditions = (item.get("status") or {}).get("conditions") or []
    return next((each["reason"] for each in conditions if each["type"] == condition), None)


def create(plane: ControlPlane, namespace: str, path: str, item: dict[str, Any]) -> None:
    plane.api.request("POST", path.format(namespace), item)


JOBS = "/apis/finetune.dev/v1alpha1/namespaces/{}/finetunejobs"
CLAIMS = "/api/v1/namespaces/{}/persistentvolumeclaims"
CONFIG_MAPS = "/api/v1/namespaces/{}/configmaps"
ROWS = {"metadata": {"name": "rows"}, "data": {"train.jsonl": '{"prompt": "a", "completion": "b"}\n'}}
CLAIM = {
    "metadata": {"name": "models"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def test_a_job_waits_for_its_claim_and_starts_when_the_claim_comes(
    control_plane: ControlPlane, start: Callable[[str], Process], namespace: str
) -> None:
    controller = start("solo")
    wait(controller.ready, "ready")
    assert controller.ask("/healthz") == (200, "ok\n")
    wait(controller.leads, "leading")
    create(control_plane, namespace, CONFIG_MAPS, ROWS)
    create(control_plane, namespace, JOBS, resource("bot"))
    wait(lambda: reason_of(control_plane, namespace, "bot", "Accepted") is not None, "a condition")
    ray_job = f"/apis/ray.io/v1/namespaces/{namespace}/rayjobs/bot-1"
    assert not control_plane.api.exists(ray_job)

    create(control_plane, namespace, CLAIMS, CLAIM)
    wait(lambda: control_plane.api.exists(ray_job), "a RayJob")

    metrics = controller.ask("/metrics")[1]
    assert 'finetune_controller_cached_objects{resource="finetunejobs.finetune.dev"}' in metrics
    assert "finetune_controller_reconcile_seconds_count" in metrics
    controller.process.send_signal(signal.SIGTERM)
    assert controller.process.wait(timeout=10) == 0
    assert control_plane.api.get(LEASE)["spec"]["holderIdentity"] == ""
    unexpected = [record for record in controller.records() if "unexpected" in str(record) or "forbidden" in str(record)]
    assert unexpected == []


def test_a_killed_leader_is_replaced_and_a_stopped_one_hands_over_at_once(
    control_plane: ControlPlane, start: Callable[[str], Process], namespace: str
) -> None:
    first = start("first")
    wait(first.leads, "the first leads")
    second = start("second")
    wait(second.ready, "the second is ready, standing by")
    assert not second.leads()

    first.process.kill()
    took = wait(second.leads, "the second leads")
    assert took > 1.0, "its predecessor's lease had not expired yet"
    create(control_plane, namespace, JOBS, resource("after-kill"))
    wait(lambda: reason_of(control_plane, namespace, "after-kill", "Accepted") is not None, "reconciled by the second")

    third = start("third")
    wait(third.ready, "the third is ready")
    began = time.monotonic()
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(timeout=10) == 0
    assert time.monotonic() - began < 8
    wait(third.leads, "the third leads", seconds=10)


def test_the_controller_outlives_a_restart_of_the_api_server(
    control_plane: ControlPlane, start: Callable[[str], Process], namespace: str
) -> None:
    controller = start("patient")
    wait(controller.leads, "leading")
    control_plane.restart_apiserver()
    create(control_plane, namespace, JOBS, resource("after-restart"))
    wait(lambda: reason_of(control_plane, namespace, "after-restart", "Accepted") is not None, "reconciled after the restart")
    assert controller.process.poll() is None
    assert controller.ask("/healthz")[0] == 200


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        pytest.param({}, "TRAINER_IMAGE: Field required", id="no image"),
        pytest.param({"TRAINER_IMAGE": "t", "KUBECONFIG": "/none"}, "/none: no such file", id="no kubeconfig"),
    ],
)
def test_a_wrong_setting_ends_the_controller_with_code_2_and_its_name(environment: dict[str, str], words: str) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in {"KUBECONFIG", "TRAINER_IMAGE"}}
    ended = subprocess.run([sys.executable, "-m", "controller"], cwd=ROOT, env=clean | environment, capture_output=True, text=True)

    assert ended.returncode == 2
    assert words in ended.stderr
