"""The policy for the controller's own account; what it does is tried on a real API server, in tests/integration/test_permissions.py."""

import yaml

from controller import ownpolicy, rights
from tests.repository import REPOSITORY


def test_it_is_about_the_account_that_is_named_and_no_other() -> None:
    [condition] = ownpolicy.spec("system:serviceaccount:a:b")["matchConditions"]
    assert condition["expression"] == "request.userInfo.username == 'system:serviceaccount:a:b'"


def test_of_kinds_that_are_not_jobs_it_looks_at_all_that_the_account_may_write() -> None:
    looked_at = {
        (group, plural)
        for rule in ownpolicy.spec("x")["matchConstraints"]["resourceRules"]
        for group in rule["apiGroups"]
        for plural in rule["resources"]
    }
    written = {(right.resource.group, right.plural) for right in rights.RIGHTS if right.verb in ("create", "patch", "update")}
    of_jobs = {(group, plural) for group, plural in written if group in ("finetune.dev", "ray.io", "events.k8s.io")}
    assert written - of_jobs == looked_at


def test_the_manifests_have_it_for_the_account_that_they_create() -> None:
    policy, binding = yaml.safe_load_all((REPOSITORY / "manifests/rbac/own.yaml").read_text())
    account = yaml.safe_load((REPOSITORY / "manifests/rbac/controller.yaml").read_text().split("---")[0])
    named = account["metadata"]
    assert f"system:serviceaccount:{named['namespace']}:{named['name']}'" in policy["spec"]["matchConditions"][0]["expression"]
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}
