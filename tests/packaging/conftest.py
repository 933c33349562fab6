"""The control plane for tests of what installs the operator: with the plain manifests, with the definition alone, or without it."""

import time
import uuid
from collections.abc import Iterator

import pytest

from finetune.api import crd
from tests.cluster.api import ApiError
from tests.cluster.controlplane import ControlPlane
from tests.cluster.kuberay import DEFINITIONS
from tests.packaging.installed import Cluster
from tests.packaging.releases import DEFINITION
from tests.packaging.rendered import NAMESPACE
from tests.repository import REPOSITORY

FIXTURES = REPOSITORY / "tests/packaging/fixtures"


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


@pytest.fixture(scope="package")
def defined(control_plane: ControlPlane) -> ControlPlane:
    """A control plane that knows FineTuneJobs and the monitors of the Prometheus operator."""
    define(control_plane)
    for name in ("podmonitors", "servicemonitors"):
        path = f"{DEFINITIONS}/{name}.monitoring.coreos.com"
        control_plane.api.apply(path, (FIXTURES / f"{name}.json").read_bytes())
        control_plane.api.wait_for(path, "Established")
    return control_plane


@pytest.fixture
def bare(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A control plane that does not know FineTuneJobs; afterwards it does again, whatever the test did."""
    undefine(control_plane)
    yield control_plane
    undefine(control_plane)
    define(control_plane)


def define(plane: ControlPlane) -> None:
    plane.api.apply(DEFINITION, crd.manifest_text().encode())
    plane.api.wait_for(DEFINITION, "Established")


def undefine(plane: ControlPlane) -> None:
    try:
        plane.api.request("DELETE", DEFINITION)
    except ApiError as error:
        if error.status != 404:
            raise
    deadline = time.monotonic() + 60
    while plane.api.exists(DEFINITION):
        assert time.monotonic() < deadline, "the definition is still there"
        time.sleep(0.1)
