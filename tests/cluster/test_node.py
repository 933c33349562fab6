"""A second node on one machine is refused by name, before anything is built, and told how to make room."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import node
from tests.cluster.instances import CONTROL_PLANE_TIER, NODE_TIER, Instance, instances, this_process
from tests.cluster.node import preflight, refuse_second_cluster
from tests.cluster.packages import NodeTierUnavailableError
from tests.cluster.processes import ProcessIdentity
from tests.repository import REPOSITORY


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    return tmp_path


def test_a_cluster_that_was_left_up_is_named_with_the_command_that_removes_it() -> None:
    left = Instance.create(NODE_TIER, owner=None)
    with pytest.raises(NodeTierUnavailableError, match=rf"left up .*{left.directory.name}; `make cluster-down` removes it"):
        refuse_second_cluster()


def test_a_cluster_of_a_running_test_is_named_with_its_process() -> None:
    running = Instance.create(NODE_TIER, this_process())
    with pytest.raises(NodeTierUnavailableError) as refusal:
        refuse_second_cluster()
    message = str(refusal.value)
    assert f"{running.directory.name} belongs to the running process {os.getpid()} (" in message
    assert Path(sys.executable).name in message, "the command is shown"
    assert "`make cluster-down` leaves it alone" in message


def test_a_control_plane_and_the_rest_of_a_killed_run_are_no_obstacle() -> None:
    Instance.create(CONTROL_PLANE_TIER, this_process())
    killed = Instance.create(NODE_TIER, ProcessIdentity(os.getpid(), start_ticks=1))
    refuse_second_cluster()
    assert killed in list(instances()), "it was looked at, and is no obstacle"


def test_preflight_asks_for_root_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    Instance.create(NODE_TIER, owner=None)
    with pytest.raises(NodeTierUnavailableError, match="needs root"):
        preflight()


def test_nothing_is_installed_or_built_beside_a_cluster_that_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("it comes too late")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(node, "ensure_packages", never)
    monkeypatch.setattr(node, "build", never)
    Instance.create(NODE_TIER, owner=None)
    with pytest.raises(NodeTierUnavailableError, match="left up"):
        node.start_node_cluster()


def test_another_kubernetes_is_refused_by_what_it_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("tests.cluster.network.LINKS", tmp_path)
    (tmp_path / "cni0").mkdir()
    with pytest.raises(NodeTierUnavailableError, match="cni0 exists already"):
        preflight()


@pytest.mark.parametrize("command", ["down", "status"])
def test_with_nothing_up_this_is_said(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "tests.cluster", command], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "no cluster is up\n"
