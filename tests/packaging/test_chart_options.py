"""What the chart's options render, by the real helm: replicas, monitors, images by digest, labels and annotations, the dashboard."""

import json
import re
from typing import Any

import pytest

from controller.jobmetrics import JobMetrics
from controller.main import METRICS_PREFIX
from controller.runtime.metrics import Metrics
from controller.settings import load_settings
from tests.packaging.rendered import CHART, CI, Objects, chart, chart_with, run_template
from tests.packaging.test_chart import NAME, container, environment

pytestmark = pytest.mark.integration

DIGEST = "sha256:" + "0" * 64
PODS = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/instance": NAME}
DASHBOARD = json.loads((CHART / "files/dashboard.json").read_text())


def pod_spec(objects: Objects) -> dict[str, Any]:
    return objects["Deployment", NAME]["spec"]["template"]["spec"]


def ci(name: str) -> list[dict[str, Any]]:
    [path] = [path for path in CI if path.stem == f"{name}-values"]
    return chart_with(path)


def test_one_replica_has_no_budget_that_would_block_a_drain() -> None:
    one = chart()
    assert not [kind for kind, _ in one if kind == "PodDisruptionBudget"]
    assert "topologySpreadConstraints" not in pod_spec(one)


def test_several_replicas_survive_a_drain_on_different_nodes_where_possible() -> None:
    three = chart(replicas="3")
    budget = three["PodDisruptionBudget", NAME]["spec"]
    assert budget["selector"]["matchLabels"] == PODS
    assert budget["maxUnavailable"] == 1
    [spread] = pod_spec(three)["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == PODS
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")


def test_replicas_elect_a_leader_whatever_the_values_say() -> None:
    for objects in (chart(), chart(replicas="2", leaderElection="null"), chart(replicas="2", leaderElection__leaseSeconds="30")):
        values = environment(objects)
        assert values["FINETUNE_LEASE_NAME"] == NAME
        settings = load_settings([], values)
        assert settings.lease_duration_seconds == float(values["FINETUNE_LEASE_DURATION_SECONDS"])


def test_a_constraint_without_a_selector_counts_the_controllers_pods_and_one_with_a_selector_is_left_alone() -> None:
    given = {
        f"topologySpreadConstraints[{i}].{key}": value for i in (0, 1) for key, value in {"maxSkew": "1", "topologyKey": "zone"}.items()
    }
    given |= {f"topologySpreadConstraints[{i}].whenUnsatisfiable": "DoNotSchedule" for i in (0, 1)}
    objects = chart(**given, **{"topologySpreadConstraints[1].labelSelector.matchLabels.app": "other"})
    selectors = [each["labelSelector"]["matchLabels"] for each in pod_spec(objects)["topologySpreadConstraints"]]
    assert selectors == [PODS, {"app": "other"}]


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({}, "registry.example.com/finetune/controller:0.2.0"),
        ({"image__tag": "main"}, "registry.example.com/finetune/controller:main"),
        ({"image__digest": DIGEST}, f"registry.example.com/finetune/controller@{DIGEST}"),
        ({"image__digest": DIGEST, "image__tag": "main"}, f"registry.example.com/finetune/controller:main@{DIGEST}"),
    ],
)
def test_an_image_has_its_tag_or_its_digest(values: dict[str, str], image: str) -> None:
    assert container(chart(**values))["image"] == image


def test_jobs_run_the_image_with_the_digest_that_was_given() -> None:
    settings = load_settings([], environment(chart(trainer__image__digest=DIGEST)))
    assert settings.trainer_image == f"registry.example.com/finetune/trainer@{DIGEST}"


def test_common_labels_and_annotations_are_on_every_object_and_select_no_pod() -> None:
    objects = ci("pinned")
    without = [
        f"{item['kind']} {item['metadata']['name']}"
        for item in objects
        if item["metadata"].get("labels", {}).get("example.com/cost-center") != "research"
        or item["metadata"].get("annotations", {}).get("example.com/owner") != "platform@example.com"
    ]
    assert without == []
    [deployment] = [item for item in objects if item["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["metadata"]
    assert pod["labels"]["example.com/cost-center"] == "research"
    assert pod["labels"]["sidecar.istio.io/inject"] == "false"
    assert pod["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "true"
    # A selector cannot be changed: with a label that may go, an upgrade would be refused.
    assert set(deployment["spec"]["selector"]["matchLabels"]) == set(PODS)


def test_the_definition_is_kept_unless_the_values_say_otherwise() -> None:
    key = ("CustomResourceDefinition", "finetunejobs.finetune.dev")
    assert chart()[key]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "annotations" not in chart(crds__keep="false")[key]["metadata"]


def test_monitors_find_the_metrics_that_are_served() -> None:
    objects = {(item["kind"], item["metadata"]["name"]): item for item in ci("monitoring")}
    pod = objects["Deployment", NAME]["spec"]["template"]
    named = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    by_pod, by_service, service = (objects[key] for key in [("PodMonitor", NAME), ("ServiceMonitor", NAME), ("Service", f"{NAME}-metrics")])
    assert by_pod["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    [endpoint] = by_pod["spec"]["podMetricsEndpoints"]
    assert endpoint == {"port": "http", "path": "/metrics", "interval": "30s", "scrapeTimeout": "10s"}
    assert endpoint["port"] in named
    assert by_service["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    [endpoint] = by_service["spec"]["endpoints"]
    assert endpoint == {"port": service["spec"]["ports"][0]["name"], "path": "/metrics"}
    assert by_pod["metadata"]["labels"]["release"] == by_service["metadata"]["labels"]["release"] == "prometheus"


def test_no_monitor_is_made_unless_it_is_asked_for() -> None:
    assert not {"PodMonitor", "ServiceMonitor", "Service", "NetworkPolicy", "ConfigMap"} & {kind for kind, _ in chart()}


def test_a_service_monitor_comes_with_the_service_that_it_selects() -> None:
    assert ("Service", f"{NAME}-metrics") in chart(metrics__serviceMonitor__enabled="true")


def test_what_the_test_makes_is_found_by_no_selector_of_the_controller() -> None:
    made = [item for item in ci("monitoring") if "helm.sh/hook" in item["metadata"].get("annotations", {})]
    assert {item["kind"] for item in made} == {"Pod", "Service"}
    for item in made:
        assert not item["metadata"]["labels"].items() >= PODS.items()


def served() -> dict[str, set[str]]:
    """The controller's metrics as Prometheus stores them, each with the labels that its samples have."""
    metrics = Metrics(METRICS_PREFIX)
    JobMetrics(metrics.registry, METRICS_PREFIX)
    for counter, labels in (
        (metrics.reconcile_errors, ["retryable"]),
        (metrics.watch_restarts, ["pods", "gone"]),
        (metrics.objects, ["pods"]),
    ):
        counter.labels(*labels)
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", metrics.text().decode(), re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r"(\w+)=", labels))
    return found


OF_PROMETHEUS = {"namespace", "pod"}
"""Labels that the Prometheus operator adds to each sample."""
FUNCTIONS = {"sum", "max", "rate", "increase", "histogram_quantile", "vector", "label_values"}


def expressions() -> list[str]:
    variables = [each["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    return [*(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]), *variables]


@pytest.mark.parametrize("expression", expressions())
def test_the_dashboard_asks_for_metrics_and_labels_that_the_controller_serves(expression: str) -> None:
    known = served()
    bare = re.sub(r'"[^"]*"', '""', expression)
    metrics = set(re.findall(r"\b(?:finetune|process)_\w+", bare))
    assert metrics
    assert metrics <= set(known)
    labels = {label for metric in metrics for label in known[metric]} | OF_PROMETHEUS
    used = set(re.findall(r"(\w+)=~?\"", bare)) | {each.strip() for by in re.findall(r"by \(([^)]*)\)", bare) for each in by.split(",")}
    used |= set(re.findall(r"label_values\(.*, (\w+)\)", bare))
    assert used <= labels
    assert set(re.findall(r"(\w+)\(", bare)) <= FUNCTIONS


def test_the_dashboard_shows_every_metric_of_the_controllers_own() -> None:
    asked = set(re.findall(r"finetune_\w+", " ".join(expressions())))
    families = {re.sub(r"_(bucket|count|sum|created|total)$", "", name) for name in served() if name.startswith("finetune_")}
    assert {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in asked} == families


def test_the_dashboard_comes_as_a_config_map_with_the_label_of_grafanas_sidecar() -> None:
    [item] = [item for item in ci("monitoring") if item["kind"] == "ConfigMap"]
    assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert item["metadata"]["annotations"] == {"grafana_folder": "Training"}
    assert json.loads(item["data"][f"{NAME}.json"]) == DASHBOARD


def test_panels_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
            taken[cell] = panel["title"]


@pytest.mark.parametrize(("version", "shared"), [("1.29.0", False), ("1.30.0", True), ("1.36.4", True)])
def test_heads_share_an_account_where_the_cluster_serves_the_policy_that_limits_them(version: str, shared: bool) -> None:
    objects = chart_with(CI[0], "--kube-version", version, "--set", "crds.enabled=false")
    assert ("ValidatingAdmissionPolicy" in {item["kind"] for item in objects}) == shared
    [deployment] = [item for item in objects if item["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    [policy] = [each["value"] for each in container["env"] if each["name"] == "FINETUNE_DRIVER_POLICY"]
    assert bool(policy) == shared


def test_a_cluster_that_is_too_old_is_refused() -> None:
    done = run_template("--values", str(CI[0]), "--kube-version", "1.28.9")
    assert done.returncode != 0
    assert ">=1.29.0-0" in done.stderr
