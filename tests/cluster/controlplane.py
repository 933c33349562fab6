"""The control plane tier: etcd, kube-apiserver and kube-controller-manager as child processes of any user.

Objects are stored, validated, defaulted, owned and garbage-collected as in production; only pods do not run. Several
control planes can be up at once: each has its own directory, ports and keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.api import ApiServer
from tests.cluster.binaries import binary
from tests.cluster.credentials import ADMIN_GROUP, Credentials
from tests.cluster.instances import CONTROL_PLANE_TIER, Instance, this_process
from tests.cluster.kuberay import apply_definitions, start_operator
from tests.cluster.processes import ProcessError, ProcessTable, free_ports
from tests.cluster.proxies import spare_addresses

SERVICE_RANGE = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
START_ATTEMPTS = 3
APISERVER_STOP_SECONDS = 2.0


@dataclass(frozen=True)
class ControlPlane:
    """A running Kubernetes API with its controllers; made by `start_control_plane`."""

    instance: Instance
    address: str
    ports: Mapping[str, int]
    flags: tuple[str, ...] = ()
    """More flags of the API server; `{directory}` in them is the instance's."""

    @property
    def directory(self) -> Path:
        return self.instance.directory

    @property
    def processes(self) -> ProcessTable:
        return self.instance.processes

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.directory / "credentials")

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.ports['api']}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.instance.kubeconfig

    @property
    def admin_token(self) -> str:
        """The administrator's bearer token, for plain HTTP clients and for proxies that tests put in between."""
        return self.credentials.admin_token()

    @property
    def authority(self) -> Path:
        """The certificate authority that signed the API server's certificate."""
        return self.credentials.authority

    @property
    def api(self) -> ApiServer:
        """Requests as the administrator."""
        return ApiServer(self.url, self.credentials.authority, self.admin_token)

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig for a user of this name and these groups; what it may do is a matter of RBAC objects."""
        path = self.directory / f"kubeconfig-{_file_name(user)}"
        return self.credentials.write_user_kubeconfig(path, self.url, user, groups)

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """A kubeconfig with a token as a pod of this service account would hold it."""
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = self.api.request("POST", account, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
        path = self.directory / f"kubeconfig-{_file_name(f'{namespace}-{name}')}"
        return self.credentials.write_token_kubeconfig(path, self.url, answer["status"]["token"])

    def start_kuberay(self) -> None:
        """Install KubeRay's definitions and start its operator; returns when it watches."""
        apply_definitions(self.api)
        start_operator(self.processes, self.kubeconfig_for("kuberay-operator", [ADMIN_GROUP]), self.ports["kuberay"])

    def stop_apiserver(self) -> None:
        # It would wait for open requests far longer than any client here needs to see that it is gone.
        self.processes.stop("kube-apiserver", seconds=APISERVER_STOP_SECONDS)

    def start_apiserver(self) -> None:
        """Start the API server on its old port with its old data, and wait until it is ready."""
        _start_apiserver(self)

    def restart_apiserver(self) -> None:
        """Every open watch and request ends, as in an upgrade of the control plane."""
        self.stop_apiserver()
        self.start_apiserver()

    def start_scheduler(self) -> None:
        """Start kube-scheduler, so that pods are bound to nodes (see `tests.cluster.fakes.fake_node`)."""
        kubeconfig = self.kubeconfig_for("system:kube-scheduler")
        command = [
            str(binary("kube-scheduler")),
            f"--kubeconfig={kubeconfig}",
            "--leader-elect=false",
            *_serving(self, "scheduler"),
        ]
        self.processes.start("kube-scheduler", command)

    def stop_scheduler(self) -> None:
        self.processes.stop("kube-scheduler")

    def stop(self) -> None:
        """End every process and remove the directory."""
        self.stop_apiserver()
        self.instance.tear_down()


def start_control_plane(flags: tuple[str, ...] = (), files: Mapping[str, str] | None = None) -> ControlPlane:
    """Start a control plane without KubeRay; it ends with its `stop`. `files` are put into its directory for `flags` to name."""
    spare_addresses(SERVICE_RANGE)
    for attempt in range(1, START_ATTEMPTS + 1):
        instance = Instance.create(CONTROL_PLANE_TIER, this_process())
        for name, text in (files or {}).items():
            (instance.directory / name).write_text(text)
        try:
            return launch_control_plane(instance, "127.0.0.1", flags)
        except ProcessError as error:
            instance.tear_down()
            # Between finding a free port and using it, somebody else may have taken it.
            if "address already in use" not in str(error) or attempt == START_ATTEMPTS:
                raise
        except BaseException:
            instance.tear_down()
            raise
    raise AssertionError("the last attempt returns or raises")


def launch_control_plane(instance: Instance, address: str, flags: tuple[str, ...] = ()) -> ControlPlane:
    """Start the three programs in the instance's directory, serving on `address`, and wait until they are ready."""
    names = ("etcd", "etcd-peer", "api", "controllers", "scheduler", "kuberay")
    plane = ControlPlane(instance, address, dict(zip(names, free_ports(len(names), address), strict=True)), flags)
    credentials = Credentials.create(plane.directory / "credentials", [address, "127.0.0.1", SERVICE_ADDRESS])
    credentials.write_token_kubeconfig(plane.kubeconfig, plane.url, credentials.admin_token())
    _start_etcd(plane)
    _start_apiserver(plane)
    _start_controllers(plane)
    return plane


def _start_etcd(plane: ControlPlane) -> None:
    client, peer = (f"http://127.0.0.1:{plane.ports[port]}" for port in ("etcd", "etcd-peer"))
    command = [
        str(binary("etcd")),
        f"--data-dir={plane.directory / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync=true",  # the data need not outlive the machine
        "--log-level=warn",
    ]
    plane.processes.start("etcd", command)


def _start_apiserver(plane: ControlPlane) -> None:
    credentials = plane.credentials
    command = [
        str(binary("kube-apiserver")),
        f"--etcd-servers=http://127.0.0.1:{plane.ports['etcd']}",
        f"--bind-address={plane.address}",
        f"--advertise-address={plane.address}",
        f"--secure-port={plane.ports['api']}",
        f"--tls-cert-file={credentials.server}",
        f"--tls-private-key-file={credentials.server_key}",
        f"--client-ca-file={credentials.authority}",
        f"--token-auth-file={credentials.token_file}",
        f"--kubelet-client-certificate={credentials.kubelet_client}",
        f"--kubelet-client-key={credentials.kubelet_client_key}",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={credentials.service_account_key}",
        f"--service-account-signing-key-file={credentials.service_account_key}",
        # By name, `kubectl logs` would ask a DNS that does not know the node.
        "--kubelet-preferred-address-types=InternalIP",
        # Without a cluster network the watch on endpoints of old servers only delays the start and stop.
        "--shutdown-delay-duration=0s",
        *(flag.format(directory=plane.directory) for flag in plane.flags),
    ]
    plane.processes.start("kube-apiserver", command)
    plane.processes.wait_until("kube-apiserver", plane.api.ready, "/readyz said ok")


def _start_controllers(plane: ControlPlane) -> None:
    kubeconfig = plane.kubeconfig_for("system:kube-controller-manager")
    command = [
        str(binary("kube-controller-manager")),
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--flex-volume-plugin-dir={plane.directory / 'volume-plugins'}",
        # Fake nodes send no heartbeats, and nothing here tests how the loss of a node is noticed.
        "--node-monitor-grace-period=24h",
        f"--service-account-private-key-file={plane.credentials.service_account_key}",
        f"--root-ca-file={plane.credentials.authority}",
        *_serving(plane, "controllers"),
    ]
    plane.processes.start("kube-controller-manager", command)
    # Pods are refused in a namespace until the controllers have made its default service account.
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    plane.processes.wait_until("kube-controller-manager", lambda: plane.api.exists(account), "the first service account existed")


def _serving(plane: ControlPlane, port: str) -> list[str]:
    return [
        "--bind-address=127.0.0.1",
        f"--secure-port={plane.ports[port]}",
        f"--cert-dir={plane.directory / 'credentials' / port}",
    ]


def _file_name(text: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", text.lower())
