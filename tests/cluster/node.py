"""The node tier: a control plane, and on the same machine a node whose pods really run.

Root only, and one at a time on a machine, because bridge, rules and cgroups are the machine's. Programs that usually
run as pods (kube-proxy, CoreDNS, KubeRay's operator) run as processes beside it, so nothing is pulled.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.api import http_ok
from tests.cluster.binaries import NODE, binary, build
from tests.cluster.controlplane import SERVICE_RANGE, ControlPlane, launch_control_plane
from tests.cluster.credentials import ADMIN_GROUP
from tests.cluster.images import cluster_images, load_images, project_images
from tests.cluster.instances import NODE_TIER, Instance, instances, this_process
from tests.cluster.leftovers import record_absent
from tests.cluster.network import BRIDGE_ADDRESS, POD_RANGE, HostNetwork, refuse_another_kubernetes
from tests.cluster.packages import NODE_PACKAGES, NodeTierUnavailableError, ensure_packages, require_root
from tests.cluster.processes import command_line, free_ports
from tests.cluster.proxies import spare_addresses
from tests.cluster.runtime import ContainerRuntime
from tests.cluster.storage import apply_storage_class
from tests.repository import REPOSITORY

NODE_NAME = "node-1"
NODE_READY_SECONDS = 90.0


@dataclass(frozen=True)
class NodeCluster(ControlPlane):
    """A running cluster with one node; made by `start_node_cluster`."""

    @property
    def runtime(self) -> ContainerRuntime:
        return ContainerRuntime(self.directory)

    @property
    def volumes(self) -> Path:
        """Where the volumes of the default StorageClass lie on this machine."""
        return self.directory / "volumes"


def start_node_cluster(*, with_images: bool = True) -> NodeCluster:
    """Start a cluster with KubeRay, and the project's images in it; it ends with `stop`."""
    preflight()
    spare_addresses(*own_addresses())
    ensure_packages(NODE_PACKAGES)
    build(NODE)
    preflight()  # the build takes minutes, in which somebody else may have come
    instance = Instance.create(NODE_TIER, this_process())
    try:
        network = HostNetwork(instance.directory)
        record_absent(instance.directory)
        images = [*cluster_images(), *(project_images() if with_images else [])]
        runtime = ContainerRuntime(instance.directory)
        network.write_cni_configuration(runtime.cni_configuration)
        runtime.start(instance.processes)
        load_images(runtime, images)
        network.make()
        plane = launch_control_plane(instance, BRIDGE_ADDRESS)
        cluster = NodeCluster(plane.instance, plane.address, plane.ports)
        _start_node(cluster)
        cluster.start_kuberay()
        return cluster
    except BaseException:
        instance.tear_down()
        raise


def preflight() -> None:
    """Say what keeps a node from starting on this machine, before anything is built for it."""
    require_root()
    refuse_second_cluster()
    refuse_another_kubernetes()


def refuse_second_cluster() -> None:
    """Two nodes would share one bridge and one set of rules."""
    for instance in instances():
        if instance.tier != NODE_TIER or instance.orphaned:
            continue
        name, owner = instance.directory.name, instance.owner
        if owner is None:
            raise NodeTierUnavailableError(f"a cluster was left up on this machine: {name}; `make cluster-down` removes it")
        raise NodeTierUnavailableError(
            f"a cluster is up on this machine: {name} belongs to the running process {owner.pid} ({command_line(owner.pid)}); "
            "`make cluster-down` leaves it alone as long as that runs"
        )


def _start_node(cluster: NodeCluster) -> None:
    ports = dict(
        zip(
            ("kubelet", "kubelet-health", "proxy-health", "proxy-metrics", "dns-health", "dns-ready"),
            free_ports(6),
            strict=True,
        )
    )
    cluster.start_scheduler()
    _start_storage(cluster)
    _start_kubelet(cluster, ports["kubelet"], ports["kubelet-health"])
    _start_proxy(cluster, ports["proxy-health"], ports["proxy-metrics"])
    _start_dns(cluster, ports["dns-health"], ports["dns-ready"])
    node = f"/api/v1/nodes/{NODE_NAME}"
    cluster.processes.wait_until("kubelet", lambda: cluster.api.exists(node), "the node registered", NODE_READY_SECONDS)
    cluster.api.wait_for(node, "Ready", NODE_READY_SECONDS)


def _start_storage(cluster: NodeCluster) -> None:
    cluster.volumes.mkdir()
    apply_storage_class(cluster.api)
    command = [sys.executable, "-m", "tests.cluster.storage", str(cluster.kubeconfig), str(cluster.volumes)]
    cluster.processes.start("storage", command, {"PYTHONPATH": str(REPOSITORY)})


def _start_kubelet(cluster: NodeCluster, port: int, health_port: int) -> None:
    root = cluster.directory / "kubelet"
    configuration = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": BRIDGE_ADDRESS,
        "port": port,
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": health_port,
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(cluster.authority)}},
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{cluster.runtime.socket}",
        "clusterDNS": [BRIDGE_ADDRESS],
        "clusterDomain": "cluster.local",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "volumePluginDir": str(root / "volume-plugins"),
        "podLogsDir": str(cluster.directory / "pods"),
        # A full disk must not evict pods or remove images: nobody could pull them again.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }
    path = cluster.directory / "kubelet.json"
    path.write_text(json.dumps(configuration, indent=1))
    command = [
        str(binary("kubelet")),
        f"--config={path}",
        f"--kubeconfig={cluster.kubeconfig_for(f'system:node:{NODE_NAME}', ['system:nodes'])}",
        f"--root-dir={root}",
        f"--cert-dir={root / 'pki'}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={BRIDGE_ADDRESS}",
    ]
    cluster.processes.start("kubelet", command)


def _start_proxy(cluster: NodeCluster, health_port: int, metrics_port: int) -> None:
    configuration = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(cluster.kubeconfig_for("system:kube-proxy"))},
        "mode": "iptables",
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": NODE_NAME,
        "conntrack": {"maxPerCore": 0},  # the machine's own limit stays
        "healthzBindAddress": f"127.0.0.1:{health_port}",
        "metricsBindAddress": f"127.0.0.1:{metrics_port}",
        "nodePortAddresses": ["127.0.0.0/8"],
    }
    path = cluster.directory / "kube-proxy.json"
    path.write_text(json.dumps(configuration, indent=1))
    cluster.processes.start("kube-proxy", [str(binary("kube-proxy")), f"--config={path}"])
    healthy = f"http://127.0.0.1:{health_port}/livez"
    cluster.processes.wait_until("kube-proxy", lambda: http_ok(healthy), "it was healthy")


def _start_dns(cluster: NodeCluster, health_port: int, ready_port: int) -> None:
    kubeconfig = cluster.kubeconfig_for("coredns", [ADMIN_GROUP])
    configuration = f"""\
.:53 {{
    bind {BRIDGE_ADDRESS}
    errors
    health 127.0.0.1:{health_port}
    ready 127.0.0.1:{ready_port}
    cache 5
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
    }}
    forward . /etc/resolv.conf
}}
"""
    path = cluster.directory / "Corefile"
    path.write_text(configuration)
    cluster.processes.start("coredns", [str(binary("coredns")), "-conf", str(path)])
    cluster.processes.wait_until("coredns", lambda: http_ok(f"http://127.0.0.1:{ready_port}/ready"), "it was ready")


def own_addresses() -> tuple[str, ...]:
    """What a proxy of the environment must not be asked for; not every program understands ranges."""
    return BRIDGE_ADDRESS, POD_RANGE, SERVICE_RANGE
