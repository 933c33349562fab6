"""What runPolicy accepts, and what of it may change."""

import pytest
from pydantic import ValidationError

from finetune.api import crd
from finetune.api.runpolicy import CONTROLLER, MUTABLE, RunPolicy


@pytest.mark.parametrize(
    ("manager", "elsewhere"), [(None, False), (CONTROLLER, False), ("kueue.x-k8s.io/multikueue", True)], ids=["nobody", "us", "another"]
)
def test_a_job_is_ours_unless_it_names_another_controller(manager: str | None, elsewhere: bool) -> None:
    assert RunPolicy(managed_by=manager).managed_elsewhere is elsewhere


@pytest.mark.parametrize("manager", ["us", "/x", "Example.com/x", "example.com/", "example.com/a b", "x/" + "y" * 70])
def test_a_manager_is_a_path_below_a_domain(manager: str) -> None:
    with pytest.raises(ValidationError):
        RunPolicy(managed_by=manager)


def test_what_a_running_job_cannot_take_over_is_fixed() -> None:
    rules = crd.resource_schema()["properties"]["spec"]["x-kubernetes-validations"]
    fixed = {rule["message"].partition(":")[0] for rule in rules if rule.get("fieldPath") == ".runPolicy"}
    assert fixed == {"runPolicy.failureRules", "runPolicy.managedBy"}
    assert {"failure_rules", "managed_by"} == set(RunPolicy.model_fields) - MUTABLE
