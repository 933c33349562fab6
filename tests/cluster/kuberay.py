"""KubeRay's definitions and operator, run beside the cluster instead of inside it: no image has to be pulled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.api import ApiServer, http_ok
from tests.cluster.binaries import binary, kuberay_definitions
from tests.cluster.processes import ProcessTable

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def apply_definitions(api: ApiServer) -> list[str]:
    """Install KubeRay's CustomResourceDefinitions and wait until the server serves them; returns their names."""
    names = []
    for path in kuberay_definitions():
        manifest = path.read_bytes()
        found = re.search(rb"^  name: (\S+)$", manifest, re.MULTILINE)
        if found is None:
            raise ValueError(f"{path} has no metadata.name at the usual place")
        names.append(found[1].decode())
        api.apply(f"{DEFINITIONS}/{names[-1]}", manifest)
    for name in names:
        api.wait_for(f"{DEFINITIONS}/{name}", "Established")
    return names


def rayjob_definition() -> dict[str, Any]:
    """KubeRay's CustomResourceDefinition of RayJob, which the library's Python parser reads for half a minute."""
    [path] = [path for path in kuberay_definitions() if path.name.endswith("_rayjobs.yaml")]
    return dict(yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))  # noqa: S506 - both are safe


def start_operator(processes: ProcessTable, kubeconfig: Path, port: int) -> None:
    """Start the operator; it reaches the pods' dashboards through the API server, which knows the way."""
    command = [
        str(binary("kuberay-operator")),
        f"--kubeconfig={kubeconfig}",
        "--use-kubernetes-proxy",
        "--enable-leader-election=false",
        "--metrics-addr=0",
        f"--health-probe-bind-address=127.0.0.1:{port}",
    ]
    processes.start("kuberay-operator", command)
    processes.wait_until("kuberay-operator", lambda: http_ok(f"http://127.0.0.1:{port}/readyz"), "/readyz answered")
