"""The host's share of the pod network: a bridge, kernel settings and, at the end, the removal of every rule.

Everything is on record in the cluster's directory before it is made, so that `down` in another process, or after a
crash, puts the machine back as it was.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.packages import NodeTierUnavailableError

BRIDGE = "cni0"
BRIDGE_ADDRESS = "10.244.0.1"
POD_RANGE = "10.244.0.0/24"
CNI_NETWORK = "finetune"
CNI_RESULTS = Path("/var/lib/cni/results")
CHAIN_PREFIXES = ("KUBE-", "CNI-")
SYSTEM_SETTINGS = Path("/proc/sys")
BRIDGE_FILTER = "br_netfilter"
LOADED_MODULES = Path("/sys/module")
LINKS = Path("/sys/class/net")
NEEDED_SETTINGS = {"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"}
# kube-proxy and kubelet change these by themselves.
CHANGED_BY_OTHERS = (
    "net/ipv4/conf/all/route_localnet",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
WATCHED_SETTINGS = (*NEEDED_SETTINGS, *CHANGED_BY_OTHERS)


@dataclass(frozen=True)
class HostNetwork:
    """The bridge and kernel settings of one cluster; the record of what was before lies in its directory."""

    directory: Path

    @property
    def _record(self) -> Path:
        return self.directory / "host.json"

    def make(self) -> None:
        """Make the bridge and set what forwarding between pods, services and the outside needs."""
        before: dict[str, Any] = {"module_was_loaded": (LOADED_MODULES / BRIDGE_FILTER).exists(), "settings": {}}
        self._record.write_text(json.dumps(before))
        _modprobe(BRIDGE_FILTER)  # some of the settings exist only with it
        before["settings"] = {name: setting(name) for name in WATCHED_SETTINGS}
        self._record.write_text(json.dumps(before))
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("addr", "add", f"{BRIDGE_ADDRESS}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        for name, value in NEEDED_SETTINGS.items():
            if setting(name) is not None:
                (SYSTEM_SETTINGS / name).write_text(value)

    def write_cni_configuration(self, folder: Path) -> None:
        """Tell the CNI plugins how a pod joins the bridge."""
        folder.mkdir(exist_ok=True)
        bridge = {
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.directory / "addresses"),
                "ranges": [[{"subnet": POD_RANGE}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        port_map = {"type": "portmap", "capabilities": {"portMappings": True}}
        network = {"cniVersion": "0.4.0", "name": CNI_NETWORK, "plugins": [bridge, port_map]}
        (folder / "10-finetune.conflist").write_text(json.dumps(network, indent=1))

    def remove(self) -> None:
        """Remove bridge, chains and CNI's notes, and put the kernel settings back. Nothing to remove is no error."""
        if not self._record.exists():
            return
        before = json.loads(self._record.read_text())
        subprocess.run(["ip", "link", "delete", BRIDGE], stderr=subprocess.DEVNULL, check=False)
        for program in _iptables_programs():
            _remove_chains(program)
        for name, value in before["settings"].items():
            if value is not None and setting(name) != value:
                with contextlib.suppress(OSError):
                    (SYSTEM_SETTINGS / name).write_text(value)
        if not before["module_was_loaded"]:
            _modprobe("--remove", BRIDGE_FILTER)
        for result in CNI_RESULTS.glob(f"{CNI_NETWORK}-*"):
            result.unlink()
        self._record.unlink()


def refuse_another_kubernetes() -> None:
    """Another Kubernetes, or the rest of one, on this machine would be damaged by ours."""
    if (LINKS / BRIDGE).exists():
        raise NodeTierUnavailableError(f"the network interface {BRIDGE} exists already: it belongs to another cluster on this machine")
    for program, _, chain in pod_chains():
        raise NodeTierUnavailableError(f"{program} holds chains of another Kubernetes on this machine, e.g. {chain}")


def pod_chains() -> list[tuple[str, str, str]]:
    """Every (program, table, chain) that kubelet, kube-proxy or a CNI plugin made."""
    return [(program, table, chain) for program in _iptables_programs() for table, chain in _chains(program)]


def setting(name: str) -> str | None:
    """A kernel setting as text, None where the kernel does not have it now."""
    path = SYSTEM_SETTINGS / name
    return path.read_text().strip() if path.exists() else None


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NodeTierUnavailableError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")


def _modprobe(*arguments: str) -> None:
    """Load or remove a module; where that cannot be done, the kernel has it built in or does without."""
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "--quiet", *arguments], check=False)


def _iptables_programs() -> list[str]:
    return [program for program in ("iptables", "ip6tables") if shutil.which(program)]


def _save(program: str) -> list[str]:
    return subprocess.run([f"{program}-save"], capture_output=True, text=True, check=False).stdout.splitlines()


def _chains(program: str) -> list[tuple[str, str]]:
    """Every (table, chain) that kubelet, kube-proxy or a CNI plugin makes."""
    found, table = [], ""
    for line in _save(program):
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and line[1:].startswith(CHAIN_PREFIXES):
            found.append((table, line[1:].split()[0]))
    return found


def _remove_chains(program: str) -> None:
    """Delete, in one transaction per table, the rules that lead into our chains, then the chains."""
    script: dict[str, list[str]] = {}
    ours = _chains(program)
    for table, chain in ours:
        script.setdefault(table, []).append(f"-F {chain}")
    table = ""
    for line in _save(program):
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A ") and not line[3:].startswith(CHAIN_PREFIXES) and any(f" {prefix}" in line for prefix in CHAIN_PREFIXES):
            script.setdefault(table, []).append(f"-D {line[3:]}")
    for table, chain in ours:
        script[table].append(f"-X {chain}")
    for table, lines in script.items():
        text = "\n".join([f"*{table}", *lines, "COMMIT", ""])
        subprocess.run([f"{program}-restore", "--noflush"], input=text, text=True, check=False)
