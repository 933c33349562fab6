"""Installs the plain manifests on the real control plane, once for the tests that ask for it."""

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.packaging.installed import TEAM, Cluster
from tests.packaging.rendered import NAMESPACE, ROOT


@pytest.fixture(scope="package")
def cluster(control_plane: ControlPlane) -> Cluster:
    """A cluster on which the manifests are installed, as the kustomization's first line tells."""
    cluster = Cluster(control_plane)
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--kustomize", str(ROOT / "manifests"), namespace=NAMESPACE)
    cluster.kubectl("wait", "--for=condition=Established", "crd/finetunejobs.finetune.dev")
    cluster.kubectl("create", "namespace", TEAM)
    return cluster
