"""Kueue's definitions, webhooks and manager, run beside the cluster instead of inside it, for RayJobs alone.

Its webhooks are reached under an address of this machine, with the API server's own certificate.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from typing import Any

import yaml

from tests.cluster.api import ApiServer, http_ok
from tests.cluster.binaries import KUEUE_CERTIFICATES, binary, kueue_manifests
from tests.cluster.controlplane import ControlPlane
from tests.cluster.credentials import ADMIN_GROUP
from tests.cluster.kuberay import DEFINITIONS
from tests.cluster.processes import free_ports

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
CONVERTED = ("workloads", "localqueues", "clusterqueues", "cohorts", "multikueueclusters")
WEBHOOKS = ("rayjob", "clusterqueue", "cohort", "resourceflavor", "workload")
"""Of those that are left out, one for pods would stop every pod of the cluster while Kueue is down."""
NAMESPACE = "kueue-system"


def start_kueue(plane: ControlPlane) -> None:
    """Install Kueue and start it; returns when it watches and its webhooks answer."""
    webhook, health = free_ports(2)
    certificates = plane.directory / "kueue"
    certificates.mkdir()
    shutil.copy(plane.credentials.server, certificates / "tls.crt")
    shutil.copy(plane.credentials.server_key, certificates / "tls.key")
    plane.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    bundle = base64.b64encode(plane.authority.read_bytes()).decode()
    _apply_definitions(plane.api, f"https://127.0.0.1:{webhook}", bundle)
    configuration = {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": NAMESPACE,
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"port": webhook, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "integrations": {"frameworks": ["ray.io/rayjob"]},
    }
    path = certificates / "configuration.yaml"
    path.write_text(json.dumps(configuration))
    command = [
        str(binary("kueue")),
        f"--config={path}",
        f"--kubeconfig={plane.kubeconfig_for('kueue', [ADMIN_GROUP])}",
        "--feature-gates=VisibilityOnDemand=false",
    ]
    plane.processes.start("kueue", command, {KUEUE_CERTIFICATES: str(certificates)})
    plane.processes.wait_until("kueue", lambda: http_ok(f"http://127.0.0.1:{health}/readyz"), "/readyz answered")
    _apply_webhooks(plane.api, f"https://127.0.0.1:{webhook}", bundle)


def _apply_definitions(api: ApiServer, url: str, bundle: str) -> None:
    names = []
    for path in sorted((kueue_manifests() / "crd" / "bases").glob("*.yaml")):
        # The C parser: together they have two megabytes, and some seconds in pure Python.
        definition = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
        if definition["spec"]["names"]["plural"] in CONVERTED:
            client = {"url": f"{url}/convert", "caBundle": bundle}
            webhook = {"clientConfig": client, "conversionReviewVersions": ["v1"]}
            definition["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
        names.append(definition["metadata"]["name"])
        api.apply(f"{DEFINITIONS}/{names[-1]}", definition)
    for name in names:
        api.wait_for(f"{DEFINITIONS}/{name}", "Established")


def _apply_webhooks(api: ApiServer, url: str, bundle: str) -> None:
    text = (kueue_manifests() / "webhook" / "manifests.yaml").read_bytes()
    for configuration in yaml.load_all(text, Loader=yaml.CSafeLoader):
        configuration["webhooks"] = list(_here(configuration["webhooks"], url, bundle))
        name = configuration["metadata"]["name"] = f"kueue-{configuration['metadata']['name']}"
        api.apply(f"{ADMISSION}/{configuration['kind'].lower()}s/{name}", configuration)


def _here(webhooks: list[dict[str, Any]], url: str, bundle: str) -> Iterator[dict[str, Any]]:
    for webhook in webhooks:
        if webhook["name"].removesuffix(".kb.io")[1:] in WEBHOOKS:
            path = webhook["clientConfig"]["service"]["path"]
            yield {**webhook, "clientConfig": {"url": f"{url}{path}", "caBundle": bundle}}
