"""A real API server with an audit log, our controller as a process beside it, and KubeRay's operator when it is asked for.

Test: tests/bench/controller/test_whole.py.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.controller.audit import POLICY, Asked, asked
from bench.controller.usage import Usage, usage
from bench.scenarios import ROOT
from finetune.api import crd
from tests.cluster.api import ApiError, http_ok
from tests.cluster.binaries import binary, kubectl
from tests.cluster.controlplane import ControlPlane, start_control_plane
from tests.cluster.credentials import ADMIN_GROUP
from tests.cluster.kuberay import apply_definitions

AUDIT_LOG = "audit.log"
FLAGS = ("--audit-log-path={directory}/audit.log", "--audit-policy-file={directory}/audit-policy.json")
DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/finetunejobs.finetune.dev"
OURS = "system:serviceaccount:finetune-system:finetune-operator"
KUBERAY = "kuberay-operator"
POLL_SECONDS = 0.2
START_TRIES = 3


class TooSlowError(Exception):
    """What the bench waits for did not happen in time."""


def wait(done: Callable[[], bool], what: str, seconds: float) -> None:
    """Return once `done` says so."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TooSlowError(f"after {seconds:.0f} s still not: {what}")
        time.sleep(POLL_SECONDS)


@dataclass
class Cluster:
    """A control plane and what runs beside it."""

    plane: ControlPlane
    log: Path
    controller: subprocess.Popen[bytes] | None = None
    account: Path = field(init=False)

    def __post_init__(self) -> None:
        apply_definitions(self.plane.api)
        self.plane.api.apply(DEFINITION, crd.manifest_text().encode())
        self.plane.api.wait_for(DEFINITION, "Established")
        command = [str(kubectl()), f"--kubeconfig={self.plane.kubeconfig}", "apply", "--server-side"]
        manifests = ROOT / "manifests"
        subprocess.run([*command, "-f", str(manifests / "namespace.yaml"), "-f", str(manifests / "rbac")], check=True, capture_output=True)
        self.account = self.plane.kubeconfig_for_service_account("finetune-system", "finetune-operator")

    def start_controller(self) -> float:
        """Start our controller and return when, in seconds since the epoch."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("FINETUNE_", "TRAINER_"))},
            "KUBECONFIG": str(self.account),
            "TRAINER_IMAGE": "registry.example/trainer:1",
            "FINETUNE_HEALTH_HOST": "127.0.0.1",
            "FINETUNE_HEALTH_PORT": "0",
            "FINETUNE_LEASE_NAMESPACE": "finetune-system",
            "FINETUNE_DRIVER_POLICY": "finetune-operator",
        }
        self.log.write_bytes(b"")
        began = time.time()
        with self.log.open("wb") as log:
            self.controller = subprocess.Popen([sys.executable, "-m", "controller"], cwd=ROOT, env=environment, stderr=log)
        wait(lambda: bool(self._port()), "the controller has started", 60)
        return began

    def stop_controller(self) -> None:
        """End our controller, which releases its lease."""
        if self.controller is not None:
            self.controller.terminate()
            self.controller.wait(20)
            self.controller = None

    def metric(self, name: str) -> float:
        """Return a metric of our controller, 0 while it is not there."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port()}/metrics", timeout=20) as answer:
                text = answer.read().decode()
        except OSError:
            return 0.0
        found = re.search(rf"^finetune_controller_{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def leads(self) -> bool:
        """Return whether our controller works."""
        return self.metric("leader") == 1.0

    def ours(self) -> Usage:
        """Return what our controller has used."""
        if self.controller is None:
            raise ValueError("our controller does not run")
        return usage(self.controller.pid)

    def part(self, name: str) -> Usage:
        """Return what another process of the cluster has used, such as kube-apiserver."""
        return usage(self.plane.processes.identity(name).pid)

    def start_kuberay(self, namespace: str) -> None:
        """Start KubeRay's operator for one namespace, with its own defaults for everything else."""
        port = self.plane.ports["kuberay"]
        command = [
            str(binary("kuberay-operator")),
            f"--kubeconfig={self.plane.kubeconfig_for(KUBERAY, [ADMIN_GROUP])}",
            "--use-kubernetes-proxy",
            "--enable-leader-election=false",
            "--metrics-addr=0",
            f"--health-probe-bind-address=127.0.0.1:{port}",
            f"--watch-namespace={namespace}",
        ]
        self.plane.processes.start(KUBERAY, command)
        self.plane.processes.wait_until(KUBERAY, lambda: http_ok(f"http://127.0.0.1:{port}/readyz"), "/readyz answered")

    def audited(self, begin: float, end: float) -> list[Asked]:
        """Return what was answered in this time, in seconds since the epoch."""
        with (self.plane.directory / AUDIT_LOG).open() as log:
            return [each for each in asked(log) if begin <= each.answered < end]

    def _port(self) -> int:
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if "health_port" in record:
                    return int(record["health_port"])
        return 0


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Cluster]:
    """Run a control plane with KubeRay's definitions and ours; everything ends with the block."""
    directory.mkdir(parents=True, exist_ok=True)
    cluster = _started(directory / "controller.log")
    try:
        yield cluster
    finally:
        cluster.stop_controller()
        cluster.plane.stop()


def _started(log: Path) -> Cluster:
    """Start a control plane; on a loaded machine its first requests may take longer than they are waited for."""
    for left in reversed(range(START_TRIES)):
        plane = None
        try:
            plane = start_control_plane(FLAGS, {"audit-policy.json": json.dumps(POLICY)})
            return Cluster(plane, log)
        except ApiError as error:
            if plane is not None:
                plane.stop()
            if error.status or not left:
                raise
    raise AssertionError("the last try returns or raises")
