"""A control plane on which the plain manifests are installed, as its administrator sees it."""

import subprocess

from tests.cluster.binaries import kubectl
from tests.cluster.controlplane import ControlPlane
from tests.packaging.rendered import NAMESPACE

ACCOUNT = "finetune-operator"
TEAM = "rights"


class Cluster:
    """kubectl as the administrator, in the namespace of a team."""

    def __init__(self, plane: ControlPlane) -> None:
        self._kubeconfig = plane.kubeconfig

    def kubectl(self, *arguments: str, namespace: str = TEAM, check: bool = True) -> str:
        command = [str(kubectl()), "--kubeconfig", str(self._kubeconfig), "--namespace", namespace, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout.strip()

    def names(self, kind: str) -> list[str]:
        return self.kubectl("get", kind, "--output", "name").split()

    def may(self, verb: str, resource: str) -> bool:
        account = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
        return self.kubectl("auth", "can-i", verb, resource, f"--as={account}", check=False) == "yes"
