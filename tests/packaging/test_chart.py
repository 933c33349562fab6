"""What the chart renders, by the real helm: least rights, restricted pods, and the same as the plain manifests."""

import copy
from typing import Any

import pytest
import yaml

from controller.jobdefaults import JobDefaults
from controller.joblimits import JobLimits
from controller.settings import Settings, load_settings
from tests.packaging.rendered import IMAGES, Objects, chart, helm_template, kustomization

pytestmark = pytest.mark.integration

NAME = "finetune-operator"
HELM_LABELS = ("app.kubernetes.io/managed-by", "helm.sh/chart")
MILLICPU_OF_THE_QUICKSTART = 1800


@pytest.fixture(scope="module")
def rendered() -> Objects:
    return chart()


def container(objects: Objects) -> dict[str, Any]:
    return objects["Deployment", NAME]["spec"]["template"]["spec"]["containers"][0]


def environment(objects: Objects) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container(objects)["env"] if "value" in entry}


def rules(objects: Objects) -> list[dict[str, Any]]:
    return [
        rule
        for (kind, name), item in objects.items()
        if kind in {"Role", "ClusterRole"} and name in {NAME, f"{NAME}-leader"}
        for rule in item["rules"]
    ]


def without_traces_of_helm(objects: Objects) -> Objects:
    plain = copy.deepcopy(objects)
    for item in plain.values():
        labels = item["metadata"].get("labels", {})
        for label in HELM_LABELS:
            labels.pop(label, None)
        if item["metadata"].get("annotations", {}).pop("helm.sh/resource-policy", None):
            del item["metadata"]["annotations"]
    return plain


def test_the_plain_manifests_install_the_same_as_the_chart(rendered: Objects) -> None:
    plain = kustomization()
    del plain["Namespace", "finetune-system"]  # helm makes it itself
    helms = without_traces_of_helm(rendered)
    for objects in (plain, helms):  # a patch of kustomize changes their order
        container(objects)["env"].sort(key=lambda entry: entry["name"])
    assert plain == helms


def test_the_definition_outlives_the_release(rendered: Objects) -> None:
    definition = rendered["CustomResourceDefinition", "finetunejobs.finetune.dev"]
    assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_policy_that_limits_heads_outlives_the_release_as_their_shared_accounts_do(rendered: Objects) -> None:
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        assert rendered[kind, NAME]["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    annotated = chart(commonAnnotations__owner="platform")["ValidatingAdmissionPolicy", NAME]["metadata"]["annotations"]
    assert annotated == {"owner": "platform", "helm.sh/resource-policy": "keep"}


def test_the_definition_can_be_left_to_the_release_that_installed_it(rendered: Objects) -> None:
    assert set(rendered) - set(chart(crds__enabled="false")) == {("CustomResourceDefinition", "finetunejobs.finetune.dev")}


def test_values_of_an_older_chart_keep_the_definition() -> None:
    assert ("CustomResourceDefinition", "finetunejobs.finetune.dev") in chart(crds="null")
    assert ("CustomResourceDefinition", "finetunejobs.finetune.dev") not in chart(crd__install="false")


def test_no_right_reaches_secrets_or_everything(rendered: Objects) -> None:
    for rule in rules(rendered):
        assert "secrets" not in rule["resources"]
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_the_controller_holds_what_it_grants_to_a_job(rendered: Objects) -> None:
    [rule] = [rule for rule in rules(rendered) if "configmaps" in rule["resources"]]
    assert {"get", "patch"} <= set(rule["verbs"])


def test_watched_namespaces_bound_the_rights_to_them() -> None:
    done = helm_template(**{name.replace(".", "__"): value for name, value in IMAGES.items()}, watchNamespaces="{team-a,team-b}")
    items = [item for item in yaml.safe_load_all(done.stdout) if item and item["metadata"]["name"] == NAME]
    held = [(item["kind"], item["metadata"].get("namespace")) for item in items if item["kind"].endswith(("Role", "RoleBinding"))]
    assert sorted(held, key=str) == [
        ("ClusterRole", None), ("ClusterRoleBinding", None),
        ("Role", "team-a"), ("Role", "team-b"), ("RoleBinding", "team-a"), ("RoleBinding", "team-b"),
    ]  # fmt: skip
    [everywhere] = [item for item in items if item["kind"] == "ClusterRole"]
    [policies] = everywhere["rules"]
    assert (policies["apiGroups"], policies["verbs"]) == (["admissionregistration.k8s.io"], ["get"])
    assert environment({(item["kind"], item["metadata"]["name"]): item for item in items})["FINETUNE_NAMESPACES"] == "team-a,team-b"


def test_a_namespace_that_values_of_an_earlier_chart_name_is_one_of_the_watched() -> None:
    objects = chart(watchNamespace="team-a")
    assert objects["Role", NAME]["metadata"]["namespace"] == "team-a"
    assert environment(objects)["FINETUNE_NAMESPACES"] == "team-a"
    assert environment(objects)["FINETUNE_NAMESPACE"] == "team-a", "an image of an earlier version would watch all namespaces"
    both = chart(watchNamespace="team-a", watchNamespaces="{team-a,team-b}")
    assert environment(both)["FINETUNE_NAMESPACES"] == "team-a,team-b"
    assert "FINETUNE_NAMESPACE" not in environment(both)


def test_watched_namespaces_without_a_shared_account_take_no_right_on_the_cluster() -> None:
    objects = chart(watchNamespaces="{team-a}", jobs__sharedAccount="false")
    assert not {("ClusterRole", NAME), ("ClusterRoleBinding", NAME)} & set(objects)
    assert ("Role", NAME) in objects


def test_the_pod_keeps_to_the_restricted_profile(rendered: Objects) -> None:
    pod = rendered["Deployment", NAME]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(rendered)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_settings_of_the_pod_are_settings_that_the_controller_takes() -> None:
    objects = chart(
        trainer__env__HF_ENDPOINT="https://hub.example.com",
        **{"trainer.imagePullSecrets[0].name": "registry", "trainer.imagePullSecrets[1].name": "mirror"},
        **{"jobs.allowedTokenSecrets[0]": "hf-*", "jobs.allowedPriorityClasses[0]": "low", "jobs.allowedPriorityClasses[1]": "batch-*"},
    )
    known = {field.alias for field in Settings.model_fields.values()}
    assert {entry["name"] for entry in container(objects)["env"]} <= known
    settings = load_settings([], environment(objects))
    assert settings.trainer_image == "registry.example.com/finetune/trainer:0.2.0"
    assert settings.trainer_env == {"HF_ENDPOINT": "https://hub.example.com"}
    assert settings.image_pull_secrets == ("registry", "mirror")
    assert settings.allowed_token_secrets == ("hf-*",)
    assert settings.allowed_priority_classes == ("low", "batch-*")
    assert settings.allowed_toleration_keys == ("*",)
    assert settings.namespaces == ()
    assert settings.lease_name == NAME


def test_limits_of_the_values_are_those_of_the_controller() -> None:
    objects = chart(
        **{"jobs.maxGpus": "0", "jobs.namespaces.team-a.maxGpus": "8", "jobs.namespaces.team-a.allowedModels": "{Qwen/*,claim:models/*}"},
        trainer__gpuResource="amd.com/gpu",
        trainer__gpuClaimTemplate="gpus-{gpus}",
    )
    settings = load_settings([], environment(objects))
    here, elsewhere = settings.limits_in("team-a"), settings.limits_in("team-b")
    assert (here.max_gpus, here.allowed_models) == (8, ("Qwen/*", "claim:models/*"))
    assert (elsewhere.max_gpus, elsewhere.max_workers, elsewhere.allowed_models) == (0, None, ("*",))
    assert settings.gpu_resource == "amd.com/gpu"
    assert settings.gpu_claim_template == "gpus-{gpus}"


def test_defaults_of_the_values_are_those_of_the_controller() -> None:
    toleration = {"key": "training", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": "300"}
    objects = chart(
        jobs__defaults__priorityClassName="batch",
        **{f"jobs.defaults.tolerations[0].{name}": value for name, value in toleration.items()},
        **{"jobs.namespaces.team-a.maxGpus": "8", "jobs.namespaces.team-a.defaults.priorityClassName": ""},
        **{"jobs.namespaces.team-a.defaults.nodeSelector.pool": "a", "jobs.namespaces.team-b.defaults.queueName": "b"},
    )
    settings = load_settings([], environment(objects))
    here, there, elsewhere = (settings.defaults_in(name) for name in ("team-a", "team-b", "team-c"))
    assert (here.priority_class_name, here.node_selector, here.queue_name) == (None, {"pool": "a"}, None)
    assert (there.priority_class_name, there.node_selector, there.queue_name) == ("batch", {}, "b")
    assert (elsewhere.priority_class_name, elsewhere.node_selector, elsewhere.queue_name) == ("batch", {}, None)
    assert [each.to_wire() for each in here.tolerations] == [{**toleration, "tolerationSeconds": 300}]
    assert settings.limits_in("team-a").max_gpus == 8
    assert "defaults" not in environment(objects)["NAMESPACE_LIMITS"], "an image of an earlier version would not start"


def test_values_of_an_older_chart_limit_nothing_and_add_nothing() -> None:
    objects = chart(
        jobs__allowedModels="null",
        jobs__maxGpus="null",
        jobs__namespaces="null",
        jobs__defaults="null",
        trainer__gpuResource="null",
        trainer__gpuClaimTemplate="null",
    )
    settings = load_settings([], environment(objects))
    assert settings.limits_in("team-a") == JobLimits()
    assert settings.defaults_in("team-a") == JobDefaults()
    assert (settings.gpu_resource, settings.gpu_claim_template) == ("nvidia.com/gpu", None)


def test_probes_ask_where_the_controller_answers(rendered: Objects) -> None:
    port = {"name": "http", "containerPort": int(environment(rendered)["FINETUNE_HEALTH_PORT"])}
    assert container(rendered)["ports"] == [port]
    assert container(rendered)["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container(rendered)["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_the_quickstart_fits_beside_the_controller_on_two_cpus(rendered: Objects) -> None:
    from tests.packaging.test_samples import SAMPLES, job

    [quickstart] = [job(sample)["spec"] for sample in SAMPLES if sample.stem == "quickstart"]
    values = environment(rendered)
    small = [container(rendered)["resources"]["requests"]["cpu"], values["HEAD_CPU"], values["SUBMITTER_CPU"]]
    workers = quickstart["distributed"]["workers"] * millicpu(quickstart["resources"]["cpu"])
    assert sum(map(millicpu, small)) + workers < MILLICPU_OF_THE_QUICKSTART


def millicpu(quantity: str) -> int:
    return int(quantity.removesuffix("m")) if quantity.endswith("m") else int(float(quantity) * 1000)


def test_a_metrics_service_is_made_on_request_and_finds_the_pod() -> None:
    assert not [kind for kind, _ in chart() if kind == "Service"]
    objects = chart(metrics__service__enabled="true")
    labels = objects["Deployment", NAME]["spec"]["template"]["metadata"]["labels"]
    service = objects["Service", f"{NAME}-metrics"]["spec"]
    assert service["selector"].items() <= labels.items()
    assert service["ports"][0]["targetPort"] == "http"
