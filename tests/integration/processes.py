"""The controller as a process of its own, with its log and its probes, and the objects that its jobs need."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.controlplane import ControlPlane
from tests.repository import REPOSITORY

DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/finetunejobs.finetune.dev"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/finetune-system/leases/finetune-operator"
LEASE_SECONDS = 4
WAIT_SECONDS = 90.0


DRIVER_POLICY = "finetune-operator"
"""In manifests/rbac/driver.yaml, which tests/integration/accounts.py applies."""
OWN_ACCOUNTS = {"FINETUNE_DRIVER_POLICY": ""}
"""Settings with which each attempt has an account of its own, as where the API server knows no such policy."""


class Process:
    """A controller that runs, with its log and its probes; attempts share an account, as the chart has it."""

    def __init__(self, kubeconfig: Path, directory: Path, name: str, **settings: str) -> None:
        self.log = directory / f"{name}.log"
        environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "POD_NAME": name,
            "TRAINER_IMAGE": "registry.example/trainer:1",
            "FINETUNE_DRIVER_POLICY": DRIVER_POLICY,
            "FINETUNE_HEALTH_HOST": "127.0.0.1",
            "FINETUNE_HEALTH_PORT": "0",
            "FINETUNE_LEASE_NAMESPACE": "finetune-system",
            "FINETUNE_LEASE_DURATION_SECONDS": str(LEASE_SECONDS),
            "FINETUNE_LEASE_RENEW_DEADLINE_SECONDS": "2.5",
            "FINETUNE_LEASE_RETRY_SECONDS": "0.5",
            **settings,
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "controller"], cwd=REPOSITORY, env=environment, stderr=log)

    @property
    def port(self) -> int:
        """The port of its probes, 0 before it is there."""
        return next((int(each["health_port"]) for each in self.records() if "health_port" in each), 0)

    def ask(self, path: str, timeout_seconds: float = 5.0) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=timeout_seconds) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return self.ask("/readyz")[0] == 200

    def leads(self, timeout_seconds: float = 5.0) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return "finetune_controller_leader 1.0" in self.ask("/metrics", timeout_seconds)[1]

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


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
RAY_JOBS = "/apis/ray.io/v1/namespaces/{}/rayjobs"
CLAIMS = "/api/v1/namespaces/{}/persistentvolumeclaims"
CONFIG_MAPS = "/api/v1/namespaces/{}/configmaps"
ROWS = {"metadata": {"name": "rows"}, "data": {"train.jsonl": '{"prompt": "a", "completion": "b"}\n'}}
CLAIM = {
    "metadata": {"name": "models"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
