"""A control plane on which the plain manifests are installed, as its administrator sees it."""

import subprocess

from tests.cluster.binaries import kubectl
from tests.cluster.controlplane import ControlPlane
from tests.packaging.rendered import NAMESPACE

ACCOUNT = "finetune-operator"


class Cluster:
    """kubectl as the administrator, in the namespace of a team."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._kubeconfig = plane.kubeconfig
        self.namespace = namespace

    def kubectl(self, *arguments: str) -> str:
        done = self._run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def names(self, kind: str) -> list[str]:
        return self.kubectl("get", kind, "--output", "name").split()

    def may(self, verb: str, resource: str) -> bool:
        """Whether the controller's account may; `resource` is a plural, with a slash before a subresource."""
        plural, _, subresource = resource.partition("/")
        account = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
        done = self._run("auth", "can-i", verb, plural, f"--subresource={subresource}", f"--as={account}")
        answer = done.stdout.split()[:1]
        # An error leaves with the same code as a "no", and of a kind that it does not know, kubectl only warns.
        assert answer in (["yes"], ["no"]), f"kubectl did not answer: {done.stdout}{done.stderr}"
        assert "doesn't have a resource type" not in done.stderr, done.stderr
        return answer == ["yes"]

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(kubectl()), "--kubeconfig", str(self._kubeconfig), "--namespace", self.namespace, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)
