"""The schema of the chart's values: it knows every value, has no open door, and the real helm refuses what is wrong by its name."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.packaging.rendered import CHART, IMAGES, run_template

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
OF_OLDER_CHARTS = {"crd"}
"""Values that are taken from `--reuse-values` and have other names in this chart."""
OF_PARENTS = {"global"}


def schemas(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if "type" in node and not isinstance(node["type"], dict):
            yield path, node
        for name, below in node.items():
            yield from schemas(below, f"{path}/{name}")
    elif isinstance(node, list):
        for below in node:
            yield from schemas(below, path)


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    return resolved(SCHEMA["$defs"][node["$ref"].rpartition("/")[2]]) if "$ref" in node else node


def paths(schema: dict[str, Any], document: Any, prefix: str = "") -> Iterator[tuple[str, bool, bool]]:
    """The values of both, each with whether the schema and values.yaml know it; maps of free keys and lists are one value."""
    known = resolved(schema).get("properties", {})
    if not known:
        return
    for name in {*known, *(document or {})}:
        there = name in (document or {})
        yield prefix + name, name in known, there
        below = (document or {}).get(name)
        if name in known and isinstance(below, dict) and below:
            yield from paths(known[name], below, f"{prefix}{name}.")


def test_no_object_of_the_schema_is_open() -> None:
    objects = dict(schemas(SCHEMA)) | {"": SCHEMA}
    opened = {path: node.get("additionalProperties") for path, node in objects.items() if node["type"] == "object"}
    opened = {path: others for path, others in opened.items() if others is not False}
    limits = opened.pop("/properties/jobs/properties/namespaces")  # by namespace, and each of these is closed
    assert limits["additionalProperties"] is False
    assert list(opened) == ["/properties/global"]


def test_schema_and_values_know_the_same_values() -> None:
    different = {path for path, in_schema, in_values in paths(SCHEMA, VALUES) if in_schema != in_values}
    optional = {"resources.requests.ephemeral-storage", "resources.limits.ephemeral-storage", "resources.limits.cpu"}
    assert different == OF_OLDER_CHARTS | OF_PARENTS | optional


@pytest.mark.integration
@pytest.mark.parametrize(
    ("values", "messages"),
    [
        ({"trainer.sizes": 1}, ["/trainer", "additional properties 'sizes' not allowed"]),
        ({"replica": 2}, ["additional properties 'replica' not allowed"]),
        ({"replicas": "two"}, ["/replicas", "got string, want integer"]),
        ({"replicas": -1}, ["/replicas"]),
        ({"trainer.head.cpu": "fast"}, ["/trainer/head/cpu"]),
        ({"logLevel": "loud"}, ["/logLevel", "'debug', 'info', 'warning', 'error'"]),
        ({"image.pullPolicy": "Sometimes"}, ["/image/pullPolicy"]),
        ({"image.digest": "sha256:12"}, ["/image/digest"]),
        ({"image.repository": "my image"}, ["/image/repository"]),
        ({"trainer.env": {"DEBUG": 1}}, ["/trainer/env/DEBUG"]),
        ({"trainer.env": {"NO-WAY": "1"}}, ["/trainer/env", "NO-WAY"]),
        ({"jobs.allowedTokenSecrets": ["^hf"]}, ["/jobs/allowedTokenSecrets/0"]),
        ({"jobs.allowedModels": ["Qwen 3"]}, ["/jobs/allowedModels/0"]),
        ({"jobs.maxGpus": -1}, ["/jobs/maxGpus"]),
        ({"jobs.namespaces": {"Team_A": {"maxGpus": 1}}}, ["'Team_A' does not match pattern"]),
        ({"jobs.namespaces": {"team-a": {"maxGpu": 1}}}, ["additional properties 'maxGpu' not allowed"]),
        ({"jobs.defaults.cpu": "2"}, ["/jobs/defaults", "additional properties 'cpu' not allowed"]),
        ({"jobs.defaults.tolerations": [{"operator": "Equal"}]}, ["/jobs/defaults/tolerations/0", "missing property 'key'"]),
        ({"jobs.defaults.tolerations": [{"key": "a", "operator": "Gt"}]}, ["/jobs/defaults/tolerations/0/operator"]),
        ({"jobs.defaults.tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}, ["/jobs/defaults/tolerations/0/operator"]),
        ({"jobs.defaults.tolerations": [{"key": "a", "tolerationSeconds": 3}]}, ["/jobs/defaults/tolerations/0", "'effect'"]),
        ({"jobs.namespaces": {"team-a": {"defaults": {"queueName": "A"}}}}, ["/jobs/namespaces/team-a/defaults/queueName"]),
        (
            {"jobs.defaults.priorityClassName": "gold", "jobs.allowedPriorityClasses": ["low", "batch.*"]},
            ["jobs: the default priorityClassName gold is not in allowedPriorityClasses (low, batch.*); allow it there, or choose"],
        ),
        (
            {"jobs.defaults.priorityClassName": "low", "jobs.namespaces": {"team-a": {"allowedPriorityClasses": []}}},
            ["jobs.namespaces.team-a: the default priorityClassName low is not in allowedPriorityClasses ()"],
        ),
        ({"trainer.gpuResource": "gpu"}, ["/trainer/gpuResource"]),
        ({"trainer.gpuClaimTemplate": "gpus-{number}"}, ["/trainer/gpuClaimTemplate"]),
        ({"watchNamespaces": ["Team_A"]}, ["/watchNamespaces/0"]),
        ({"jobs.allowedSecrets": "x"}, ["additional properties 'allowedSecrets' not allowed"]),
        ({"crds.install": True}, ["/crds", "additional properties 'install' not allowed"]),
        ({"leaderElection.enabled": False}, ["/leaderElection", "additional properties 'enabled' not allowed"]),
        ({"leaderElection.leaseSeconds": 5}, ["leaderElection: retrySeconds (2) must be less than renewDeadlineSeconds (10)"]),
        ({"podDisruptionBudget.maxUnavailable": "0%"}, ["/podDisruptionBudget/maxUnavailable"]),
        ({"topologySpreadConstraints": [{"topologyKey": "zone"}]}, ["/topologySpreadConstraints/0", "missing properties"]),
        ({"tolerations": [{"key": "gpu", "opertor": "Exists"}]}, ["/tolerations/0", "'opertor'"]),
        ({"affinity": {"nodeAfinity": {}}}, ["/affinity", "'nodeAfinity'"]),
        ({"resources.limits.memory": "lots"}, ["/resources/limits/memory"]),
        ({"metrics.podMonitor.interval": "often"}, ["/metrics/podMonitor/interval"]),
        ({"networkPolicy.apiServer.cidrs": ["10.0.0.1"]}, ["/networkPolicy/apiServer/cidrs/0"]),
        ({"networkPolicy.jobs.enabled": True}, ["networkPolicy.jobs.namespaces: name the namespaces in which jobs run"]),
        (
            {"networkPolicy.jobs": {"enabled": True, "namespaces": ["team-a"], "internet": False}},
            ["networkPolicy.apiServer.cidrs: name the API server's addresses"],
        ),
        (
            {"networkPolicy.controller.enabled": True, "metrics.podMonitor.enabled": True},
            ["networkPolicy.metricsFrom: name where Prometheus runs; networkPolicy.controller would keep it"],
        ),
        (
            {"networkPolicy.jobs": {"enabled": True, "namespaces": ["team-a"]}, "metrics.jobs.enabled": True},
            ["networkPolicy.metricsFrom: name where Prometheus runs; networkPolicy.jobs would keep it"],
        ),
        (
            {"watchNamespaces": [f"team-{number}" for number in range(64)], "watchNamespace": "team-a"},
            ["watchNamespaces: with watchNamespace these are 65 namespaces, and at most 64"],
        ),
        (
            {"metrics.jobs": {"enabled": True, "interval": "1m", "scrapeTimeout": "1m1s"}},
            ["metrics.jobs.scrapeTimeout: 1m1s is longer than the interval, 1m"],
        ),
        ({"networkPolicy.metricsFrom": [{"podSelector": {"app": "x"}}]}, ["/networkPolicy/metricsFrom/0/podSelector", "'app'"]),
        ({"commonLabels": {"a": "not a label"}}, ["/commonLabels/a"]),
        ({"podAnnotations": {"not a key": "a"}}, ["/podAnnotations", "'not a key'"]),
        ({"commonLabels": {"app.kubernetes.io/name": "x"}}, ["commonLabels: the chart sets app.kubernetes.io/name itself"]),
        ({"podLabels": {"app.kubernetes.io/instance": "x"}}, ["podLabels: the chart sets app.kubernetes.io/instance itself"]),
        ({"podLabels": {"a": "b"}, "commonLabels": {"a": "b"}}, ["podLabels: a is also in commonLabels"]),
        ({"serviceAccount.create": False}, ["serviceAccount.name: name the ServiceAccount to use"]),
        ({"image.repository": ""}, ["image.repository: name the image that you built"]),
        ({"trainer.image.repository": ""}, ["trainer.image.repository: name the image that you built"]),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
def test_a_wrong_value_is_refused_by_name(values: dict[str, Any], messages: list[str]) -> None:
    given = {**IMAGES, **values}
    done = run_template(*(part for name, value in given.items() for part in ("--set-json", f"{name}={json.dumps(value)}")))
    assert done.returncode != 0
    missing = [message for message in messages if message not in done.stderr]
    assert missing == [], done.stderr


REQUIRED = [
    f"{prefix}{name}"
    for prefix, schema in [("", SCHEMA), *((f"{name}.", resolved(SCHEMA["properties"][name])) for name in SCHEMA["properties"])]
    for name in schema.get("required", [])
]


@pytest.mark.integration
@pytest.mark.parametrize("path", [*REQUIRED, "trainer.head.cpu", "trainer.image.pullPolicy", "metrics.service.port"])
def test_a_value_that_is_taken_away_is_refused_by_name_where_a_template_needs_it(path: str) -> None:
    parent, _, name = path.rpartition(".")
    images = () if path in IMAGES else tuple(f"{key}={value}" for key, value in IMAGES.items() if not key.startswith(path))
    done = run_template(*(part for setting in (*images, f"{path}=null") for part in ("--set", setting)))
    assert done.returncode != 0
    where = parent.replace(".", "/")
    assert f"missing property '{name}'" in done.stderr or f"'/{where}/{name}': got null" in done.stderr.replace("//", "/"), done.stderr
    assert where in done.stderr
    assert "nil pointer" not in done.stderr


@pytest.mark.integration
@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"watchNamespaces": [f"team-{number}" for number in range(64)], "watchNamespace": "team-1"}, id="64 namespaces"),
        pytest.param(
            {"metrics.jobs": {"enabled": True, "interval": "1m", "scrapeTimeout": "60s"}}, id="a time-out as long as the interval"
        ),
        pytest.param({"metrics.jobs": {"enabled": True, "scrapeTimeout": "60s"}}, id="a time-out beside Prometheus' own interval"),
        pytest.param(dict.fromkeys(("crds", "leaderElection", "podDisruptionBudget", "networkPolicy", "userRoles")), id="no groups"),
        pytest.param({f"metrics.{name}": None for name in ("podMonitor", "serviceMonitor", "jobs", "dashboard")}, id="no monitors"),
    ],
)
def test_what_is_at_the_border_or_may_be_absent_is_taken(values: dict[str, Any]) -> None:
    given = {**IMAGES, **values}
    done = run_template(*(part for name, value in given.items() for part in ("--set-json", f"{name}={json.dumps(value)}")))
    assert done.returncode == 0, done.stderr
