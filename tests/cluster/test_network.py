"""The machine's kernel is as it was after a cluster: settings have their values, a module that was loaded for it goes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import network
from tests.cluster.network import HostNetwork
from tests.cluster.packages import NodeTierUnavailableError

STUB = """\
#!/bin/sh
echo "${{0##*/}} $*" >> {log}
{more}
"""


@dataclass
class Machine:
    """A machine of folders: programs on PATH that only note how they were called, modules and settings that are files."""

    root: Path

    @property
    def module(self) -> Path:
        return self.root / "modules" / "br_netfilter"

    @property
    def bridged(self) -> Path:
        return self.root / "settings/net/bridge/bridge-nf-call-iptables"

    @property
    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    (tmp_path / "modules").mkdir()
    forward = tmp_path / "settings/net/ipv4/ip_forward"
    forward.parent.mkdir(parents=True)
    forward.write_text("0")
    loads = f'[ "$2" = br_netfilter ] && mkdir -p {machine.module} {machine.bridged.parent} && echo 0 > {machine.bridged}'
    for name, more in {"ip": "", "modprobe": loads}.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(STUB.format(log=tmp_path / "calls", more=more))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(network, "LOADED_MODULES", tmp_path / "modules")
    monkeypatch.setattr(network, "SYSTEM_SETTINGS", tmp_path / "settings")
    monkeypatch.setattr(network, "CNI_RESULTS", tmp_path / "results")
    monkeypatch.setattr(network, "_iptables_programs", list)
    return machine


def test_a_module_that_was_loaded_for_the_cluster_is_removed_with_it(machine: Machine, tmp_path: Path) -> None:
    HostNetwork(tmp_path).make()
    assert machine.bridged.read_text() == "1"
    HostNetwork(tmp_path).remove()
    assert machine.bridged.read_text().strip() == "0"
    assert machine.calls[-1] == "modprobe --quiet --remove br_netfilter"


def test_a_module_that_was_there_before_stays(machine: Machine, tmp_path: Path) -> None:
    machine.module.mkdir()
    HostNetwork(tmp_path).make()
    HostNetwork(tmp_path).remove()
    assert not [call for call in machine.calls if "--remove" in call]
    assert (tmp_path / "settings/net/ipv4/ip_forward").read_text() == "0"


def test_a_start_that_was_cut_short_after_loading_the_module_removes_it_too(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "bin/ip").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(NodeTierUnavailableError):
        HostNetwork(tmp_path).make()
    HostNetwork(tmp_path).remove()
    assert machine.calls[-1] == "modprobe --quiet --remove br_netfilter"
