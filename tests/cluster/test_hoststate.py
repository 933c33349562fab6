"""A node that leaves something of itself on the machine is told, with what it is."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.hoststate import HostState, left_by, node_processes

NOTHING: frozenset[str] = frozenset()
BEFORE = HostState(NOTHING, frozenset({"lo", "eth0"}), NOTHING, NOTHING, NOTHING, {"kernel/panic": "0"})


def test_a_machine_that_is_as_it_was_has_no_changes() -> None:
    assert BEFORE.changes(replace(BEFORE)) == []


@pytest.mark.parametrize(
    ("after", "line"),
    [
        pytest.param(replace(BEFORE, mounts=frozenset({"/cache/node-1/pods/x"})), "mounts: /cache/node-1/pods/x is left", id="mount"),
        pytest.param(replace(BEFORE, links=BEFORE.links | {"cni0"}), "links: cni0 is left", id="link"),
        pytest.param(replace(BEFORE, links=frozenset({"lo"})), "links: eth0 is gone", id="the machine's own link"),
        pytest.param(replace(BEFORE, chains=frozenset({"iptables nat KUBE-MARK"})), "chains: iptables nat KUBE-MARK is left", id="chain"),
        pytest.param(replace(BEFORE, modules=frozenset({"br_netfilter"})), "modules: br_netfilter is left", id="module"),
        pytest.param(replace(BEFORE, settings={"kernel/panic": "10"}), "settings: kernel/panic was 0 and is 10", id="setting"),
        pytest.param(replace(BEFORE, processes=frozenset({"7 (kubelet)"})), "processes: 7 (kubelet) is left", id="process"),
    ],
)
def test_what_is_left_or_gone_is_reported(after: HostState, line: str) -> None:
    assert BEFORE.changes(after) == [line]


def test_a_setting_that_came_with_a_module_is_no_change() -> None:
    assert BEFORE.changes(replace(BEFORE, settings={"kernel/panic": "0", "net/netfilter/nf_conntrack_max": "65536"})) == []


def test_two_looks_at_a_quiet_machine_are_the_same(tmp_path: Path) -> None:
    assert left_by(tmp_path, HostState.now(), seconds=5.0) == []


def test_a_program_of_the_node_is_seen_and_a_reader_of_its_log_is_not(tmp_path: Path) -> None:
    kubelet = tmp_path / "bin" / "kubelet"
    kubelet.parent.mkdir()
    kubelet.symlink_to(sys.executable)
    wait = ["-c", "input()", str(tmp_path / "node-1" / "kubelet.json")]
    environment = {**os.environ, "PYTHONHOME": sys.base_prefix}
    with (
        subprocess.Popen([kubelet, *wait], stdin=subprocess.PIPE, env=environment) as node,
        subprocess.Popen([sys.executable, *wait], stdin=subprocess.PIPE) as reader,
    ):
        found = [int(line.split()[0]) for line in node_processes(tmp_path)]
        for process in (node, reader):
            process.communicate(b"\n")
    assert node.pid in found
    assert reader.pid not in found
