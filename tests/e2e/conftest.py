"""One real node for all end-to-end tests, with the chart installed; what a person would want to see goes to runs/e2e."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import helm
from tests.cluster.node import NodeCluster
from tests.cluster.packages import SCREENSHOT_PACKAGES, ensure_packages
from tests.e2e.kubectl import Kubectl
from tests.repository import REPOSITORY

SAMPLE = REPOSITORY / "manifests" / "samples" / "quickstart.yaml"
LEFT_BEHIND = ("*.yaml", "*-watch.txt", "dashboard-*.png", "dashboard-*.txt", "controller.log")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/e2e" in str(item.path):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """The folder of what is left behind, without the files of an earlier run, which would pass for this one's."""
    folder = REPOSITORY / "runs" / "e2e"
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in LEFT_BEHIND:
        for file in folder.glob(pattern):
            file.unlink()
    return folder


@pytest.fixture(scope="session")
def installed(node_cluster: NodeCluster) -> NodeCluster:
    """The cluster with the operator installed by its chart, and a browser for the screenshots."""
    ensure_packages(SCREENSHOT_PACKAGES)
    helm.install(node_cluster.kubeconfig)
    return node_cluster


@pytest.fixture(scope="session")
def namespace(installed: NodeCluster) -> Callable[[str], Kubectl]:
    """Return a function that makes a namespace and gives kubectl for it."""

    def make(name: str) -> Kubectl:
        kubectl = Kubectl(installed.kubeconfig, name)
        kubectl.run("create", "namespace", name)
        return kubectl

    return make


@pytest.fixture(scope="session", autouse=True)
def controller_log(artifacts: Path, installed: NodeCluster) -> Iterator[None]:
    """Leave the controller's log behind, whatever happens."""
    yield
    kubectl = Kubectl(installed.kubeconfig, helm.NAMESPACE)
    (artifacts / "controller.log").write_text(kubectl.run("logs", "--selector", "app.kubernetes.io/name=finetune-operator", "--tail=-1"))
