"""The oldest Kubernetes that the chart takes knows all that the definition and the admission policies use: its own code says so.

Rules in CEL are text to the OpenAPI document: which functions there are, and what a rule may cost, each version of the API server
decides by itself. Policies came after the oldest; what its code can compile, that of later versions can.
"""

import copy
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.cluster.binaries import binary, kuberay_definitions, kueue_manifests
from tests.cluster.openapi import DOCUMENTS
from tests.cluster.paths import GO_MODULES
from tests.packaging.rendered import Objects, kustomization

pytestmark = pytest.mark.integration
DEFINITION = ("CustomResourceDefinition", "finetunejobs.finetune.dev")
POLICY = ("ValidatingAdmissionPolicy", "finetune-operator")
WITH_RULES = {kind for kind, _ in (DEFINITION, POLICY)}


def objections(documents: str) -> list[str]:
    return subprocess.run([binary("rules")], input=documents, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()


@pytest.fixture(scope="module")
def manifests() -> Objects:
    return kustomization()


@pytest.fixture
def installed(manifests: Objects) -> list[dict[str, Any]]:
    """The definition and a policy, to be changed."""
    return copy.deepcopy([manifests[DEFINITION], manifests[POLICY]])


def spec_schema(definition: dict[str, Any]) -> dict[str, Any]:
    [version] = definition["spec"]["versions"]
    return dict(version["schema"]["openAPIV3Schema"]["properties"]["spec"])


def add_rule(rule: str) -> Callable[..., None]:
    return lambda definition, policy: spec_schema(definition)["x-kubernetes-validations"].append({"rule": rule, "message": "x"})


def add_validation(expression: str) -> Callable[..., None]:
    return lambda definition, policy: policy["spec"]["validations"].append({"expression": expression})


def forget_bounds(definition: dict[str, Any], policy: dict[str, Any]) -> None:
    del spec_schema(definition)["properties"]["evaluation"]["properties"]["metrics"]["maxItems"]


def test_the_code_that_checks_is_that_of_the_oldest_version() -> None:
    modules = (GO_MODULES / "rules" / "go.mod").read_text()
    versions = re.findall(r"^\tk8s\.io/api\S* v0\.(\S+)$", modules, re.MULTILINE)
    assert versions == [next(iter(DOCUMENTS)).removeprefix("v1.")] * 4


def test_the_oldest_version_takes_every_rule_of_definition_and_policies(manifests: Objects) -> None:
    items = [item for (kind, _), item in manifests.items() if kind in WITH_RULES]
    assert {item["kind"] for item in items} == WITH_RULES
    assert objections(yaml.safe_dump_all(items)) == []


def test_the_oldest_version_takes_the_definitions_of_kuberay_and_kueue() -> None:
    paths = [*kuberay_definitions(), *sorted((kueue_manifests() / "crd" / "bases").glob("*.yaml"))]
    assert {"ray.io_rayjobs.yaml", "kueue.x-k8s.io_workloads.yaml"} <= {path.name for path in paths}
    assert objections("\n---\n".join(path.read_text() for path in paths)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(add_rule("!format.dns1123Label().validate(self.task).hasValue()"), "undeclared reference to 'format'", id="format"),
        pytest.param(add_rule("ip('127.0.0.1').isLoopback()"), "undeclared reference to 'ip'", id="address"),
        pytest.param(add_rule("self.tsak == 'chat'"), "undefined field 'tsak'", id="field"),
        pytest.param(forget_bounds, "estimated rule cost exceeds budget", id="cost"),
        pytest.param(add_validation("ip('127.0.0.1').isLoopback()"), "validations[6]: ", id="function in the policy"),
        pytest.param(add_validation("variables.prod == ''"), "undefined field 'prod'", id="variable of the policy"),
        pytest.param(lambda definition, policy: policy["spec"].update(failure="Fail"), 'unknown field "failure"', id="unknown field"),
    ],
)  # fmt: skip
def test_what_it_would_refuse_is_found(installed: list[dict[str, Any]], change: Callable[..., None], words: str) -> None:
    change(*installed)
    found = objections(yaml.safe_dump_all(installed))
    assert [each for each in found if words in each], found
