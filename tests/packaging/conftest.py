"""Installs the plain manifests on the real control plane, once for the tests that ask for it."""

import uuid

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.packaging.installed import Cluster
from tests.packaging.rendered import NAMESPACE
from tests.repository import REPOSITORY


@pytest.fixture(scope="package")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """A control plane on which the manifests are installed, as the kustomization's first line says."""
    administrator = Cluster(control_plane, NAMESPACE)
    administrator.kubectl("apply", "--server-side", "--force-conflicts", "--kustomize", str(REPOSITORY / "manifests"))
    administrator.kubectl("wait", "--for=condition=Established", "crd/finetunejobs.finetune.dev")
    return control_plane


@pytest.fixture
def cluster(installed: ControlPlane) -> Cluster:
    """The same for one test: in a namespace of its own."""
    cluster = Cluster(installed, f"team-{uuid.uuid4().hex[:8]}")
    cluster.kubectl("create", "namespace", cluster.namespace)
    return cluster
