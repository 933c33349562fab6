"""That a stored policy counts only as it is shipped. What it allows is tried in tests/integration/test_driver_policy.py."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from controller.job.objects.policy import binding, in_force, policy
from controller.rights import driver_chart_text, driver_manifest_text

Stored = tuple[dict[str, Any], dict[str, Any]]


def stored() -> Stored:
    """Policy and binding as an API server stores them, with its defaults."""
    ours, bound = copy.deepcopy(policy("ours")), copy.deepcopy(binding("ours"))
    constraints = ours["spec"]["matchConstraints"]
    constraints |= {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}}
    constraints["resourceRules"][0]["scope"] = "*"
    ours["status"] = {"observedGeneration": 1}
    return ours, bound


def test_what_the_server_stores_of_ours_is_in_force() -> None:
    assert in_force(*stored())


def change(part: int, *path: Any, value: Any) -> Callable[[Stored], None]:
    def edit(both: Stored) -> None:
        place: Any = both[part]["spec"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        change(0, "failurePolicy", value="Ignore"),
        change(0, "matchConditions", 0, "expression", value="false"),
        change(0, "matchConditions", value=[*stored()[0]["spec"]["matchConditions"], {"name": "x", "expression": "false"}]),
        change(0, "validations", value=stored()[0]["spec"]["validations"][:-1]),
        change(0, "validations", 2, "expression", value="true"),
        change(0, "variables", 0, "expression", value="'bot-1-abcde-head'"),
        change(0, "matchConstraints", "namespaceSelector", value={"matchLabels": {"a": "b"}}),
        change(0, "matchConstraints", "objectSelector", value={"matchLabels": {"a": "b"}}),
        change(0, "matchConstraints", "excludeResourceRules", value=[{"resources": ["*"]}]),
        change(0, "matchConstraints", "resourceRules", 0, "resourceNames", value=["one"]),
        change(0, "paramKind", value={"kind": "ConfigMap", "apiVersion": "v1"}),
        change(1, "validationActions", value=["Warn"]),
        change(1, "policyName", value="theirs"),
        change(1, "matchResources", value={"namespaceSelector": {"matchLabels": {"a": "b"}}}),
        change(1, "paramRef", value={"name": "x"}),
    ],
)
def test_what_allows_more_than_ours_is_not(edit: Callable[[Stored], None]) -> None:
    both = stored()
    edit(both)
    assert not in_force(*both)


def test_chart_and_manifests_have_the_same_policy() -> None:
    [ours, bound] = yaml.safe_load_all(driver_manifest_text())
    assert in_force(ours, bound)
    template = driver_chart_text().partition("-}}\n{{- define")[2].partition("-}}\n")[2].removesuffix("{{- end -}}\n")
    assert yaml.safe_load(template) == ours["spec"]
