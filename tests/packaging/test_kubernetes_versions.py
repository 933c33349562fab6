"""Every Kubernetes that the chart takes serves and takes what is installed and what the controller creates, by each version's own API.

Only the API server of one version runs in tests; of the others the OpenAPI documents are read (tests.cluster.openapi).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.job.facts import Job
from controller.job.objects.attempt import objects_of, shared_objects
from controller.job.objects.form import Form
from controller.job.objects.policy import BINDINGS, POLICIES
from controller.rights import RIGHTS
from controller.runtime.client import Client
from controller.runtime.elector import Elector
from controller.runtime.events import EventRecorder
from controller.runtime.resources import EVENTS, LEASES, RESOURCE_CLAIM_TEMPLATES, KubeObject
from controller.runtime.rights import Right
from tests.builders import REMOVED, changed
from tests.cluster.binaries import KUBERNETES_VERSION
from tests.cluster.openapi import DOCUMENTS, DocumentUnavailableError, document
from tests.controller.job.builders import Settings, job
from tests.fakes import FakeApi
from tests.packaging.apischema import POD_TEMPLATE, ApiDescription
from tests.packaging.rendered import CHART, CI, chart_with, kustomization
from tests.packaging.test_samples import SAMPLES, documents
from tests.repository import REPOSITORY
from tests.virtual_time import now, run_in_virtual_time

CUSTOM = {"FineTuneJob", "PodMonitor", "RayJob", "ServiceMonitor"}
"""Kinds that Kubernetes itself does not have."""
CUSTOM_GROUPS = {"finetune.dev", "kueue.x-k8s.io", "ray.io"}
OLDEST = next(iter(DOCUMENTS))
FIRST_WITH_POLICIES = "v1.30.14"
FIRST_WITH_CLAIMS = "v1.34.4"
"""From it on a worker's GPUs can be claimed (trainer.gpuClaimTemplate, docs/gpus.md)."""
POLICY_KINDS = {POLICIES.kind, BINDINGS.kind}
METHODS = {
    "get": ("get", "/{name}"), "list": ("get", ""), "watch": ("get", ""), "create": ("post", ""),
    "update": ("put", "/{name}"), "patch": ("patch", "/{name}"), "delete": ("delete", "/{name}"),
}  # fmt: skip
FORMS = [Form(config_inside, shared) for config_inside in (False, True) for shared in (False, True)]
LARGE = {
    "model": {"name": "org/gated", "tokenSecret": {"name": "hub", "key": "token"}},
    "data": {
        "train": [{"configMap": {"name": "rows", "key": "train.jsonl"}}, {"persistentVolumeClaim": {"claimName": "data", "path": "rows"}}],
        "test": [{"configMap": {"name": "rows", "key": "test.jsonl"}}],
    },
    "distributed": {"workers": 2},
    "resources": {
        "gpus": 2,
        "nodeSelector": {"gpu": "large"},
        "priorityClassName": "low",
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}],
    },
    "training": {"epochs": 1, "globalBatchSize": 32},
}
"""Every field of a job that reaches its pods."""
SETTINGS = Settings(image_pull_secrets=("registry",), trainer_env={"HF_ENDPOINT": "https://hub.example.com"})
CLAIMING = replace(SETTINGS, gpu_claim_template="gpus-{gpus}")


@pytest.fixture(scope="module", params=DOCUMENTS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def api(version: str) -> ApiDescription:
    return described(version)


def described(version: str) -> ApiDescription:
    try:
        return ApiDescription.read(document(version))
    except DocumentUnavailableError as error:
        pytest.skip(str(error))


def minor(version: str) -> int:
    return int(version.split(".")[1])


def has_policies(version: str) -> bool:
    return minor(version) >= minor(FIRST_WITH_POLICIES)


def has_claims(version: str) -> bool:
    return minor(version) >= minor(FIRST_WITH_CLAIMS)


def objections(api: ApiDescription, items: Iterable[KubeObject]) -> list[str]:
    return [each for item in items if item["kind"] not in CUSTOM for each in api.objections(item)]


def templates(ray_job: KubeObject) -> Iterator[KubeObject]:
    spec = ray_job["spec"]
    cluster = spec["rayClusterSpec"]
    yield from (
        spec["submitterPodTemplate"],
        cluster["headGroupSpec"]["template"],
        *(each["template"] for each in cluster["workerGroupSpecs"]),
    )


def test_every_minor_version_from_the_oldest_that_the_chart_takes_is_checked() -> None:
    [oldest] = re.findall(r"^>=1\.(\d+)\.0-0$", yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"])
    minors = [minor(version) for version in DOCUMENTS]
    assert minors == list(range(int(oldest), minors[-1] + 1))
    assert KUBERNETES_VERSION in DOCUMENTS


def test_the_readme_names_the_versions_that_are_checked() -> None:
    text = " ".join((REPOSITORY / "README.md").read_text().split())
    assert f"Kubernetes 1.{minor(OLDEST)} or newer (tests run on 1.{minor(KUBERNETES_VERSION)};" in text
    assert f"of each other minor version up to 1.{minor(list(DOCUMENTS)[-1])} the API is compared" in text
    assert f"Without Helm (Kubernetes 1.{minor(FIRST_WITH_POLICIES)} or newer)" in text


@pytest.mark.integration
@pytest.mark.parametrize("values", CI, ids=lambda path: path.stem)
def test_what_the_chart_renders_for_a_version_is_served_and_taken_by_it(api: ApiDescription, version: str, values: Path) -> None:
    # The definition, the same as that of the plain manifests, is nearly all of the text.
    items = chart_with(values, "--kube-version", version, "--set", "crds.enabled=false")
    assert "Deployment" in {item["kind"] for item in items}
    assert objections(api, items) == []


@pytest.fixture(scope="module")
def manifests() -> list[KubeObject]:
    return list(kustomization().values())


@pytest.mark.integration
def test_the_plain_manifests_take_a_version_that_has_admission_policies(
    api: ApiDescription, version: str, manifests: list[KubeObject]
) -> None:
    policies = [item for item in manifests if item["kind"] in POLICY_KINDS]
    assert {item["kind"] for item in policies} == POLICY_KINDS
    assert objections(api, [item for item in manifests if item not in policies]) == []
    assert len(objections(api, policies)) == (0 if has_policies(version) else len(policies))


def test_what_comes_with_the_samples_is_taken(api: ApiDescription) -> None:
    items = [item for sample in SAMPLES for item in documents(sample)]
    assert {item["kind"] for item in items} - CUSTOM >= {"ConfigMap", "PersistentVolumeClaim"}
    assert objections(api, items) == []


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("of", [job(), job(**LARGE)], ids=["small", "large"])
@pytest.mark.parametrize("modes", [{}, {"models": ["ReadWriteMany"], "data": ["ReadOnlyMany"]}], ids=["one node", "any node"])
def test_what_an_attempt_is_made_of_is_taken(api: ApiDescription, of: Job, form: Form, modes: dict[str, list[str]]) -> None:
    *supports, ray_job = [each.item for each in objects_of(of, 1, SETTINGS, modes, form)]
    assert ray_job["kind"] == "RayJob"
    assert objections(api, [*supports, *(each.item for each in shared_objects("team"))]) == []
    found = [each for template in templates(ray_job) for each in api.objections_to(template, POD_TEMPLATE, "template")]
    assert found == []


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_worker_that_claims_its_gpus_is_taken_from_the_version_on_that_has_claims(api: ApiDescription, version: str, form: Form) -> None:
    *_, ray_job = [each.item for each in objects_of(job(**LARGE), 1, CLAIMING, {}, form)]
    *others, workers = templates(ray_job)
    assert workers["spec"]["resourceClaims"][0]["resourceClaimTemplateName"] == "gpus-2"
    assert [each for template in others for each in api.objections_to(template, POD_TEMPLATE, "template")] == []
    found = {each.split(": ")[0].rpartition(".")[2] for each in api.objections_to(workers, POD_TEMPLATE, "template")}
    assert found == (set() if has_claims(version) else {"claims", "resourceClaims"})


def test_the_lease_and_the_events_of_the_controller_are_taken(api: ApiDescription) -> None:
    async def write() -> list[KubeObject]:
        fake = FakeApi()
        client = Client(fake, field_manager="test")
        await Elector(client, namespace="team", name="lease", identity="pod-1", clock=now).acquire()
        await EventRecorder(client, "finetune-operator", "pod-1").record(fake.objects(LEASES)[0], "Warning", "AttemptFailed", "no memory")
        return [*fake.objects(LEASES), *fake.objects(EVENTS)]

    written = run_in_virtual_time(write())
    assert [item["kind"] for item in written] == ["Lease", "Event"]
    assert objections(api, written) == []


def test_every_request_of_the_controller_is_served(api: ApiDescription, version: str) -> None:
    policies = {str(right) for right in RIGHTS if right.resource in (POLICIES, BINDINGS)}
    templates = {str(right) for right in RIGHTS if right.resource == RESOURCE_CLAIM_TEMPLATES}
    assert policies
    assert templates
    missing = {str(right) for right in RIGHTS if right.resource.group not in CUSTOM_GROUPS and not api.serves(*request_of(right))}
    assert missing == (set() if has_policies(version) else policies) | (set() if has_claims(version) else templates)


def request_of(right: Right) -> tuple[str, str]:
    method, end = METHODS[right.verb]
    path = right.resource.path("{namespace}" if right.resource.namespaced else None)
    return path + end + (f"/{right.subresource}" if right.subresource else ""), method


@pytest.mark.parametrize(
    ("path", "value", "objection"),
    [
        ("apiVersion", "extensions/v1beta1", "extensions/v1beta1 is not served"),
        ("apiVersion", "apps/v2", "apps/v2 is not served"),
        ("spec__replica", 1, ".spec.replica: unknown field"),
        ("spec__replicas", "1", '.spec.replicas: "1" is not int32'),
        ("spec__selector", REMOVED, ".spec.selector: missing"),
        ("spec__template__spec__terminationGracePeriod", 5, ".spec.template.spec.terminationGracePeriod: unknown field"),
        ("metadata__labels", {"a": 1}, ".metadata.labels.a: 1 is not string"),
    ],
)
def test_an_object_that_is_wrong_is_not_taken(api: ApiDescription, path: str, value: Any, objection: str) -> None:
    deployment = yaml.safe_load((REPOSITORY / "manifests" / "deployment.yaml").read_text())
    assert objections(api, [deployment]) == []
    assert objections(api, [changed(deployment, **{path: value})]) == [f"Deployment finetune-operator: {objection}"]


@pytest.mark.parametrize(
    ("version", "objection"),
    [("v1.29.6", "unknown field"), ("v1.30.14", "alpha, and dropped by default"), ("v1.34.4", None)],
)
def test_a_field_counts_from_the_version_on_that_has_it_by_default(version: str, objection: str | None) -> None:
    spec = {"ports": [{"port": 80}], "trafficDistribution": "PreferClose"}
    item = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": spec}
    assert objections(described(version), [item]) == ([f"Service a: .spec.trafficDistribution: {objection}"] if objection else [])
