"""Releases of the chart, as the real helm renders them, on the control plane: their accounts and rights are real, no pod runs."""

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import binaries
from tests.cluster.controlplane import ControlPlane
from tests.integration.processes import wait
from tests.packaging.rendered import CHART, IMAGES

CHART_NAME = "finetune-operator"
SKIPPED = ("CustomResourceDefinition",)
"""The definition is that of all tests."""


def kubectl(plane: ControlPlane, *arguments: str, given: str | None = None) -> str:
    command = [str(binaries.kubectl()), f"--kubeconfig={plane.kubeconfig}", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(release: str, namespace: str, *settings: str) -> str:
    """Return what `helm install` would create but for the definition."""
    values = [*(f"{name}={value}" for name, value in IMAGES.items()), *settings]
    command = [str(binaries.binary("helm")), "template", release, str(CHART), "--namespace", namespace, "--kube-version", "1.34.0"]
    done = subprocess.run([*command, *(part for value in values for part in ("--set", value))], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    documents = done.stdout.split("\n---\n")
    return "\n---\n".join(text for text in documents if not any(f"\nkind: {kind}\n" in text for kind in SKIPPED))


@dataclass(frozen=True)
class Release:
    """An installed release: where, its account, and the name of its objects."""

    namespace: str
    name: str
    kubeconfig: Path


@contextmanager
def installed(plane: ControlPlane, release: str, *settings: str) -> Iterator[Release]:
    namespace = f"ops-{uuid.uuid4().hex[:8]}"
    create_namespace(plane, namespace)
    text = rendered(release, namespace, *settings)
    kubectl(plane, "apply", "--server-side", "--filename=-", given=text)
    name = f"{release}-{CHART_NAME}"
    try:
        yield Release(namespace, name, plane.kubeconfig_for_service_account(namespace, name))
    finally:
        kubectl(plane, "delete", "--wait=false", "--ignore-not-found", "--filename=-", given=text)


def create_namespace(plane: ControlPlane, name: str) -> None:
    """Create a namespace, and wait for its default account, without which it takes no pod."""
    plane.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    wait(lambda: plane.api.exists(f"/api/v1/namespaces/{name}/serviceaccounts/default"), f"the default account of {name}")
