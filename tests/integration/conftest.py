"""The real control plane for all tests of this folder, with the controller's definition, account and rights."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.controlplane import ControlPlane
from tests.cluster.fixtures import control_plane
from tests.integration.accounts import controllers_account
from tests.integration.processes import Process

__all__ = ["control_plane"]


@pytest.fixture(scope="module")
def account(control_plane: ControlPlane) -> Path:
    """The controller's account with the rights that the manifests give it, and no others."""
    return controllers_account(control_plane)


@pytest.fixture
def start(account: Path, tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    with contextlib.ExitStack() as stack:

        def start_one(name: str) -> Process:
            process = Process(account, tmp_path, name)
            stack.callback(process.end)
            return process

        yield start_one


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    name = f"main-{uuid.uuid4().hex[:8]}"
    control_plane.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return name
