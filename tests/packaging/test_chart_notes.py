"""What `helm install` tells whoever installed the chart, by the real helm without a cluster: commands with the release's names, and what
is missing or to be known with the values given.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cluster.binaries import binary
from tests.packaging.rendered import CHART, IMAGES, NAMESPACE, run_template

pytestmark = pytest.mark.integration

DEPLOYMENT = "tuning-finetune-operator"
NO_RAY = "This cluster does not know RayJobs yet: install the KubeRay operator, jobs wait for it."
ENDPOINTS = "`kubectl get endpointslices --namespace default --selector kubernetes.io/service-name=kubernetes`"
UNSEEN = "The dashboard shows nothing before a Prometheus reads the controller's metrics: see metrics.podMonitor."
KEPT = "`helm uninstall` leaves the definition of FineTuneJob, and with it all jobs."
DELETED = "`helm uninstall` deletes the definition of FineTuneJob, and with it every job of this cluster (crds.keep is false)."
POLICY = f"It also leaves the ValidatingAdmissionPolicy {DEPLOYMENT} and its binding, which limit heads that still run."


def settings(**values: str) -> list[str]:
    given = IMAGES | {name.replace("__", "."): value for name, value in values.items()}
    return [part for name, value in given.items() for part in ("--set", f"{name}={value}")]


def notes(**values: str) -> list[str]:
    """Return the lines that are said; no cluster is asked."""
    command = [str(binary("helm")), "install", "tuning", str(CHART), "--namespace", NAMESPACE, "--dry-run=client", *settings(**values)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, found, said = done.stdout.partition("\nNOTES:\n")
    assert found, done.stdout[-1000:]
    return said.splitlines()


def test_a_plain_installation_says_what_to_do_next_and_what_an_uninstallation_leaves() -> None:
    assert [line for line in notes() if line] == [
        "The controller runs FineTuneJobs.",
        f"  helm test tuning --namespace {NAMESPACE}",
        f"  kubectl --namespace {NAMESPACE} rollout status deployment/{DEPLOYMENT}",
        "  kubectl explain finetunejob.spec",
        "  kubectl get finetunejobs --all-namespaces",
        NO_RAY,
        KEPT,
        POLICY,
    ]


def test_the_deployment_is_named_as_it_is_rendered() -> None:
    name = "tuner"
    assert f"  kubectl --namespace {NAMESPACE} rollout status deployment/{name}" in notes(fullnameOverride=name)
    rendered = run_template(*settings(fullnameOverride=name), "--show-only", "templates/deployment.yaml")
    assert yaml.safe_load(rendered.stdout)["metadata"]["name"] == name


def test_the_namespaces_that_are_watched_are_named() -> None:
    said = notes(watchNamespace="team-a", **{"watchNamespaces[0]": "team-b"})
    assert said[0] == "The controller runs FineTuneJobs of team-b, team-a."


def test_without_a_controller_it_says_that_jobs_wait() -> None:
    sentence = "`replicas` is 0: jobs wait until there is a controller."
    assert sentence in notes(replicas="0")
    assert sentence not in notes(replicas="1")


def test_with_network_policies_it_says_how_to_find_the_api_server() -> None:
    said = "\n".join(notes(networkPolicy__controller__enabled="true"))
    assert "If the controller does not become ready, look for the API server's addresses and ports" in said
    assert ENDPOINTS in said
    assert "networkPolicy.apiServer" in said
    assert ENDPOINTS not in "\n".join(notes())


@pytest.mark.parametrize("reader", ["podMonitor", "serviceMonitor", "service"])
def test_a_dashboard_that_nobody_fills_is_said(reader: str) -> None:
    assert UNSEEN in notes(metrics__dashboard__enabled="true")
    assert UNSEEN not in notes(metrics__dashboard__enabled="true", **{f"metrics__{reader}__enabled": "true"})


def test_that_an_uninstallation_deletes_all_jobs_is_said_where_it_does() -> None:
    said = notes(crds__keep="false")
    assert DELETED in said
    assert KEPT not in said


def test_heads_without_a_shared_account_leave_no_policy() -> None:
    assert POLICY not in notes(jobs__sharedAccount="false")


def test_a_cluster_with_kuberay_is_not_told_to_install_it(tmp_path: Path) -> None:
    chart = Path(shutil.copytree(CHART, tmp_path / CHART.name))
    # `helm template` alone can be told what a cluster knows, and it shows no notes: as the text of an object it does.
    shutil.copy(chart / "templates/NOTES.txt", chart / "notes.tpl")
    (chart / "templates/notes.yaml").write_text('notes: {{ tpl (.Files.Get "notes.tpl") . | quote }}\n')
    command = [str(binary("helm")), "template", "tuning", str(chart), "--namespace", NAMESPACE, *settings()]
    for known, told in (((), True), (("--api-versions", "ray.io/v1/RayJob"), False)):
        shown = [*command, "--show-only", "templates/notes.yaml", *known]
        done = subprocess.run(shown, capture_output=True, text=True, check=True)
        assert (NO_RAY in yaml.safe_load(done.stdout)["notes"]) is told
