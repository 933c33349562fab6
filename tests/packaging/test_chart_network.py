"""Who reaches whom under the chart's NetworkPolicies, with labels of the pods as the chart and the controller make them.

No network plugin runs here: the rules are read as the API defines them. A packet passes if a policy of the sender lets it out and one of
the receiver lets it in; whoever is selected by no policy for a direction is free in it.
"""

import ipaddress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

from controller.job.names import ROLE_HEAD, ROLE_SUBMITTER, ROLE_WORKER, labels
from tests.packaging.rendered import CI, NAMESPACE, chart_with

pytestmark = pytest.mark.integration

RELEASE = {"app.kubernetes.io/instance": "finetune-operator"}
TEAM = "default"


@dataclass(frozen=True)
class End:
    """A pod by its namespace and labels, or an address outside the cluster."""

    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    address: str = ""


def job_pod(role: str, job: str = "tune", namespace: str = TEAM) -> End:
    return End(namespace, labels(job, "0" * 36, 1, role))


CONTROLLER = End(NAMESPACE, {"app.kubernetes.io/name": "finetune-operator", **RELEASE})
TEST = End(NAMESPACE, {"app.kubernetes.io/name": "finetune-operator-test", **RELEASE})
NEIGHBOR = End(NAMESPACE, {"app": "other"})
PROMETHEUS = End("monitoring", {"app": "prometheus"})
KUBERAY = End("kuberay", {"app.kubernetes.io/component": "kuberay-operator"})
STRANGER = End("other", {"app": "stranger"})
STRANGER_OF_THE_TEAM = End(TEAM, {"app": "notebook"})
API, OTHER_API = End(address="10.0.0.10"), End(address="10.0.0.12")
MIRROR, METADATA, PUBLIC = End(address="10.1.2.3"), End(address="169.254.169.254"), End(address="198.51.100.7")
DNS = End("kube-system", {"k8s-app": "kube-dns"})
HEAD, WORKER, SUBMITTER = (job_pod(role) for role in (ROLE_HEAD, ROLE_WORKER, ROLE_SUBMITTER))


@cache
def policies(internet: bool, cidrs: bool = True) -> list[dict[str, Any]]:
    [path] = [path for path in CI if path.stem == "network-values"]
    anywhere = () if cidrs else ("--set-json", 'networkPolicy.apiServer={"cidrs":[],"ports":[443,6443]}')
    objects = chart_with(path, "--set", f"networkPolicy.jobs.internet={str(internet).lower()}", *anywhere)
    return [item for item in objects if item["kind"] == "NetworkPolicy"]


def selects(selector: dict[str, Any], of: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "Exists"
        if expression["key"] not in of:
            return False
    return selector.get("matchLabels", {}).items() <= of.items()


def is_peer(peer: dict[str, Any], end: End, home: str) -> bool:
    if "ipBlock" in peer:
        if not end.address:
            return False  # pods' addresses are the cluster's own
        block = peer["ipBlock"]
        inside = [ipaddress.ip_address(end.address) in ipaddress.ip_network(net) for net in (block["cidr"], *block.get("except", []))]
        return inside[0] and not any(inside[1:])
    if end.address:
        return False
    namespace = {"kubernetes.io/metadata.name": end.namespace}
    there = selects(peer["namespaceSelector"], namespace) if "namespaceSelector" in peer else end.namespace == home
    return there and selects(peer.get("podSelector", {}), end.labels)


def passes(direction: str, own: End, other: End, port: int, protocol: str, rules: list[dict[str, Any]]) -> bool:
    """Whether the policies of `own` let it be in contact with `other` in this direction."""
    if own.address:
        return True
    key, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    bound = [
        policy
        for policy in rules
        if policy["metadata"]["namespace"] == own.namespace
        and direction in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], own.labels)
    ]
    return not bound or any(
        ("ports" not in rule or any(each["port"] == port and each.get("protocol", "TCP") == protocol for each in rule["ports"]))
        and (not rule.get(peers) or any(is_peer(peer, other, own.namespace) for peer in rule[peers]))
        for policy in bound
        for rule in policy["spec"].get(key, [])
    )


def reaches(sender: End, receiver: End, port: int, protocol: str = "TCP", internet: bool = False) -> bool:
    rules = policies(internet)
    return passes("Egress", sender, receiver, port, protocol, rules) and passes("Ingress", receiver, sender, port, protocol, rules)


@pytest.mark.parametrize(
    ("sender", "receiver", "port"),
    [
        pytest.param(TEST, CONTROLLER, 8080, id="helm test asks for readiness"),
        pytest.param(PROMETHEUS, CONTROLLER, 8080, id="Prometheus reads the controller's metrics"),
        pytest.param(CONTROLLER, API, 6443, id="the controller calls the API server"),
        pytest.param(WORKER, HEAD, 6379, id="a worker joins its head"),
        pytest.param(HEAD, WORKER, 34567, id="the head calls a worker at a port chosen at run time"),
        pytest.param(WORKER, WORKER, 29500, id="ranks meet"),
        pytest.param(SUBMITTER, HEAD, 8265, id="the submitter hands the job over"),
        pytest.param(KUBERAY, HEAD, 8265, id="KubeRay asks the dashboard"),
        pytest.param(PROMETHEUS, WORKER, 8080, id="Prometheus reads a worker's metrics"),
        pytest.param(PROMETHEUS, HEAD, 8080, id="Prometheus reads the head's metrics"),
        pytest.param(HEAD, API, 6443, id="the driver reports"),
        pytest.param(HEAD, MIRROR, 443, id="the head loads from the mirror"),
        pytest.param(WORKER, MIRROR, 443, id="a worker loads from the mirror"),
    ],
)
def test_what_a_run_needs_passes(sender: End, receiver: End, port: int) -> None:
    assert reaches(sender, receiver, port)


@pytest.mark.parametrize(
    ("sender", "receiver", "port"),
    [
        pytest.param(NEIGHBOR, CONTROLLER, 8080, id="another pod of the release's namespace reads metrics"),
        pytest.param(PROMETHEUS, CONTROLLER, 9090, id="Prometheus asks at another port"),
        pytest.param(CONTROLLER, OTHER_API, 6443, id="the controller calls another address"),
        pytest.param(CONTROLLER, PUBLIC, 443, id="the controller calls the internet"),
        pytest.param(STRANGER, HEAD, 8265, id="a pod of another namespace opens the dashboard"),
        pytest.param(STRANGER_OF_THE_TEAM, HEAD, 8265, id="a pod of the namespace that is no job's opens the dashboard"),
        pytest.param(STRANGER_OF_THE_TEAM, WORKER, 29500, id="a pod that is no job's joins the ranks"),
        pytest.param(job_pod(ROLE_WORKER, namespace="kube-public"), HEAD, 6379, id="a job of another namespace joins"),
        pytest.param(KUBERAY, WORKER, 8265, id="KubeRay asks a worker"),
        pytest.param(KUBERAY, HEAD, 6379, id="KubeRay asks at another port"),
        pytest.param(WORKER, API, 6443, id="a worker calls the API server"),
        pytest.param(SUBMITTER, API, 6443, id="the submitter calls the API server"),
        pytest.param(WORKER, METADATA, 80, id="a worker asks a cloud for its credentials"),
        pytest.param(HEAD, METADATA, 443, id="the head asks a cloud for its credentials"),
        pytest.param(HEAD, PUBLIC, 443, id="the head calls the internet"),
    ],
)
def test_nothing_else_passes(sender: End, receiver: End, port: int) -> None:
    assert not reaches(sender, receiver, port)


@pytest.mark.parametrize("sender", [CONTROLLER, HEAD, WORKER, SUBMITTER])
def test_names_are_resolved(sender: End) -> None:
    assert reaches(sender, DNS, 53, "UDP")
    assert reaches(sender, DNS, 53)


def test_without_the_api_servers_addresses_heads_reach_its_ports_anywhere_and_others_do_not() -> None:
    """As docs/guarantees.md says; together with `internet: false` the chart refuses it."""
    rules = policies(internet=True, cidrs=False)
    for address in (OTHER_API, METADATA):
        assert passes("Egress", HEAD, address, 443, "TCP", rules)
        assert not passes("Egress", HEAD, address, 80, "TCP", rules)
        assert not passes("Egress", WORKER, address, 443, "TCP", rules)


def test_the_internet_is_public_addresses_at_one_port() -> None:
    assert reaches(WORKER, PUBLIC, 443, internet=True)
    assert not reaches(WORKER, PUBLIC, 22, internet=True)
    assert not reaches(WORKER, METADATA, 443, internet=True)
    assert not reaches(WORKER, OTHER_API, 443, internet=True)
