"""The controller's account on a control plane. Not a test."""

import subprocess
from pathlib import Path

from finetune.api import crd
from tests.cluster import binaries
from tests.cluster.controlplane import ControlPlane
from tests.integration.processes import DEFINITION
from tests.repository import REPOSITORY


def controllers_account(plane: ControlPlane) -> Path:
    """Install the definition and the manifests' roles; return a kubeconfig with the rights that they give the controller, no others."""
    plane.api.apply(DEFINITION, crd.manifest_text().encode())
    plane.api.wait_for(DEFINITION, "Established")
    kubectl = [str(binaries.kubectl()), f"--kubeconfig={plane.kubeconfig}", "apply", "--server-side"]
    manifests = REPOSITORY / "manifests"
    subprocess.run([*kubectl, "-f", str(manifests / "namespace.yaml"), "-f", str(manifests / "rbac")], check=True, capture_output=True)
    return plane.kubeconfig_for_service_account("finetune-system", "finetune-operator")
