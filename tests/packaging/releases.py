"""Releases of the chart on a real API server, and the controller as a process with the environment and the account of a release.

No node runs the Deployment's pods, so the process stands for the container: it gets the variables that the container would get.
"""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.builders import resource
from tests.cluster.api import MERGE, ApiError
from tests.cluster.binaries import binary, kubectl
from tests.cluster.controlplane import ControlPlane
from tests.cluster.helm import CHART, helm
from tests.integration.processes import CLAIM, CLAIMS, CONFIG_MAPS, JOBS, ROWS
from tests.packaging.rendered import IMAGES
from tests.repository import REPOSITORY

PREVIOUS = REPOSITORY / "tests/packaging/fixtures/finetune-operator-0.1.0.tgz"
DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/finetunejobs.finetune.dev"
RAY_JOBS = "/apis/ray.io/v1/namespaces/{}/rayjobs"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
QUICK_ELECTION = {"leaderElection.leaseSeconds": 4, "leaderElection.renewDeadlineSeconds": 2.5, "leaderElection.retrySeconds": 0.5}
"""Who creates the Lease waits for its duration."""
PATIENCE_SECONDS = 60.0


def make_namespace(plane: ControlPlane, prefix: str) -> str:
    """Make one that enforces the restricted pod security level."""
    name = f"{prefix}-{uuid.uuid4().hex[:6]}"
    plane.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": RESTRICTED}})
    return name


def owner_of(plane: ControlPlane, namespace: str) -> Path:
    """Return the kubeconfig of a user who may do everything in the namespace and nothing elsewhere."""
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    every = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    plane.api.request("POST", f"{roles}/roles", {"metadata": {"name": "owner"}, "rules": [every]})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "owner"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"owner-of-{namespace}"}
    plane.api.request("POST", f"{roles}/rolebindings", {"metadata": {"name": "owner"}, "roleRef": role, "subjects": [subject]})
    return plane.kubeconfig_for(subject["name"])


def settings(values: dict[str, Any]) -> list[str]:
    return [part for name, value in values.items() for part in ("--set-json", f"{name}={json.dumps(value)}")]


class Release:
    """A release by its name and namespace."""

    def __init__(self, plane: ControlPlane, name: str, namespace: str, kubeconfig: Path | None = None) -> None:
        self.plane, self.name, self.namespace = plane, name, namespace
        self.kubeconfig = kubeconfig or plane.kubeconfig

    def helm(self, *arguments: str) -> str:
        return helm(self.kubeconfig, *arguments, "--namespace", self.namespace)

    def install(self, *flags: str, chart: Path = CHART, **values: Any) -> str:
        return self.helm("install", self.name, str(chart), *flags, *settings({**IMAGES, **dotted(values)}))

    def upgrade(self, *flags: str, **values: Any) -> str:
        return self.helm("upgrade", self.name, str(CHART), *flags, *settings(dotted(values)))

    def may(self, verb: str, resource: str, namespace: str) -> bool:
        """Whether the controller's account may, in another namespace perhaps."""
        account = f"--as=system:serviceaccount:{self.namespace}:{self.full_name}"
        done = run_kubectl(self.plane, "auth", "can-i", verb, resource, account, "--namespace", namespace)
        assert done.stdout.strip() in {"yes", "no"}, done.stderr
        return done.stdout.strip() == "yes"

    def pods(self) -> list[dict[str, Any]]:
        return list(self.plane.api.get(f"/api/v1/namespaces/{self.namespace}/pods")["items"])

    def run_test(self, controller: "Controller") -> str:
        """Run `helm test` while this process is the kubelet of the test's pod: its command runs here, against `controller`."""
        command = [str(binary("helm")), "--kubeconfig", str(self.kubeconfig), "test", self.name, "--namespace", self.namespace]
        with subprocess.Popen([*command, "--timeout", "60s"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as helm_test:
            pod = self._test_pod(helm_test)
            [container] = pod["spec"]["containers"]
            *script, url, seconds = [*container["command"], *container["args"]]
            host = f"{self.full_name}-test.{self.namespace}.svc:8080"
            assert url == f"http://{host}/readyz"
            assert pod["metadata"]["name"] != host.partition(":")[0], "a pod's own name leads to the pod"
            service = self.plane.api.get(f"/api/v1/namespaces/{self.namespace}/services/{self.full_name}-test")
            [template] = [self.deployment()["spec"]["template"]]
            assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
            here = url.replace(host, f"127.0.0.1:{controller.port()}")
            done = subprocess.run([sys.executable, *script[1:], here, seconds], capture_output=True, text=True, check=False)
            phase = "Failed" if done.returncode else "Succeeded"
            path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}/status"
            self.plane.api.request("PATCH", path, {"status": {"phase": phase}}, MERGE)
            output, _ = helm_test.communicate(timeout=PATIENCE_SECONDS)
        assert helm_test.returncode == 0, output + done.stderr
        return output

    def _test_pod(self, helm_test: "subprocess.Popen[str]") -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = [pod for pod in self.pods() if pod["metadata"]["name"] == f"{self.full_name}-test"]
            if found:
                return found[0]
            assert helm_test.poll() is None, helm_test.stdout.read() if helm_test.stdout else ""
            assert time.monotonic() < deadline, "helm test made no pod"
            time.sleep(0.1)

    @property
    def full_name(self) -> str:
        return self.name if "finetune-operator" in self.name else f"{self.name}-finetune-operator"

    def deployment(self) -> dict[str, Any]:
        return self.plane.api.get(self._deployment)

    def deployed(self) -> bool:
        return self.plane.api.exists(self._deployment)

    @property
    def _deployment(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.full_name}"

    def chart_version(self) -> str:
        return str(self.deployment()["metadata"]["labels"]["helm.sh/chart"]).rpartition("-")[2]

    @contextmanager
    def controller(self, log: Path) -> Iterator["Controller"]:
        """Run the controller as the release's container would run."""
        [container] = self.deployment()["spec"]["template"]["spec"]["containers"]
        variables = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        account = self.deployment()["spec"]["template"]["spec"]["serviceAccountName"]
        own = {
            "KUBECONFIG": str(self.plane.kubeconfig_for_service_account(self.namespace, account)),
            "POD_NAME": self.full_name,
            "FINETUNE_LEASE_NAMESPACE": self.namespace,
            "FINETUNE_HEALTH_HOST": "127.0.0.1",
            "FINETUNE_HEALTH_PORT": "0",
        }
        with log.open("wb") as stream:
            environment = {**os.environ, **variables, **own}
            process = subprocess.Popen([sys.executable, "-m", "controller"], cwd=REPOSITORY, env=environment, stderr=stream)
        try:
            yield Controller(process, log)
        finally:
            process.terminate()
            process.wait(30)


class Controller:
    """A controller that runs, and what it wrote."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process, self.log = process, log

    def port(self) -> int:
        records = [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return next((int(each["health_port"]) for each in records if "health_port" in each), 0)

    def wait(self, what: str, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"not {what} after {PATIENCE_SECONDS:.0f} s; the controller's log:\n{self.log.read_text()}"
            time.sleep(0.2)


def dotted(values: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("__", "."): value for name, value in values.items()}


def submit(plane: ControlPlane, namespace: str, name: str) -> None:
    """Create a job with what it names, where that is missing."""
    plane.api.wait_for(DEFINITION, "Established")
    for path, item in ((CLAIMS, CLAIM), (CONFIG_MAPS, ROWS), (JOBS, resource(name))):
        try:
            served(plane, "POST", path.format(namespace), item)
        except ApiError as error:
            if error.status != 409:
                raise


def jobs_of(plane: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    return list(served(plane, "GET", JOBS.format(namespace))["items"])


def ray_jobs(plane: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    return list(plane.api.get(RAY_JOBS.format(namespace))["items"])


def served(plane: ControlPlane, method: str, path: str, item: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send a request that may come before the server has taken over a new or changed definition."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return plane.api.request(method, path, item)
        except ApiError as error:
            if error.status not in {404, 429} or time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def gone(plane: ControlPlane, path: str) -> bool:
    """Whether the object is deleted, or will be as soon as what belongs to it is."""
    return not plane.api.exists(path) or "deletionTimestamp" in plane.api.get(path)["metadata"]


def identity(item: dict[str, Any]) -> tuple[str, str]:
    """What tells an object from another of its name; it must not be on its way out."""
    assert "deletionTimestamp" not in item["metadata"]
    return item["metadata"]["name"], item["metadata"]["uid"]


def dry_run(plane: ControlPlane, text: str) -> "subprocess.CompletedProcess[str]":
    """Have the API server judge objects as if they were applied; unknown fields are errors."""
    return run_kubectl(plane, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename", "-", stdin=text)


def run_kubectl(plane: ControlPlane, *arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    command = [str(kubectl()), "--kubeconfig", str(plane.kubeconfig), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
