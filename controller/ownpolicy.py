"""The admission policy by which the API server limits the controller's own account further than a role can.

A role cannot limit what is created by its name, nor say which ConfigMaps may be patched. Of ConfigMaps, accounts and rights the account
may write what belongs to a job: no rows of a team, no configuration of the cluster. RayJobs, which make pods, are not limited by it. Chart
and manifests have the policy (`python -m controller.rights --write`).
Pure. Tests: tests/controller/test_ownpolicy.py, tests/integration/test_permissions.py, tests/integration/test_job_trust.py.
"""

from collections.abc import Mapping
from typing import Any

from controller.job.names import UID_LABEL
from controller.job.objects.form import SHARED_ACCOUNT
from controller.job.objects.policy import BINDINGS, POLICIES
from controller.kinds import JOB_LABEL
from controller.runtime.resources import CONFIG_MAPS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, KubeObject
from finetune.api.spec import API_VERSION, KIND

PROGRESS = "^[a-z]([-a-z0-9]*[a-z0-9])?-[1-9][0-9]*-progress-[0-9a-f]{8}$"
"""Names of ConfigMaps that trainers report into: one whose labels somebody removed is set right, and released at the end."""


def spec(user: str) -> Mapping[str, Any]:
    """Return the policy for the account with this full name, such as `system:serviceaccount:finetune-system:finetune-operator`."""
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [CONFIG_MAPS.group],
                    "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": [CONFIG_MAPS.plural, SERVICE_ACCOUNTS.plural],
                },
                {
                    "apiGroups": [ROLES.group],
                    "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": [ROLES.plural, ROLE_BINDINGS.plural],
                },
            ]
        },
        "matchConditions": [{"name": "controller", "expression": f"request.userInfo.username == '{user}'"}],
        "validations": [
            {
                "expression": "request.operation != 'CREATE'"
                f" || (has(object.metadata.labels) && ['{JOB_LABEL}', '{UID_LABEL}'].all(key, key in object.metadata.labels)"
                f" && has(object.metadata.ownerReferences) && object.metadata.ownerReferences.exists(owner, owner.kind == '{KIND}'"
                f" && owner.apiVersion == '{API_VERSION}' && owner.name == object.metadata.labels['{JOB_LABEL}']"
                f" && owner.uid == object.metadata.labels['{UID_LABEL}']))"
                f" || (object.metadata.name == '{SHARED_ACCOUNT}' && request.resource.resource != '{CONFIG_MAPS.plural}')",
                "message": f"the controller creates what belongs to a {KIND}, and the account that heads share",
            },
            {
                "expression": "request.operation != 'UPDATE'"
                f" || (request.resource.resource == '{CONFIG_MAPS.plural}'"
                f" && ((has(oldObject.metadata.labels) && '{JOB_LABEL}' in oldObject.metadata.labels)"
                f" || oldObject.metadata.name.matches('{PROGRESS}'))"
                " && has(object.immutable) == has(oldObject.immutable)"
                " && (has(object.data) ? has(oldObject.data) && object.data == oldObject.data : !has(oldObject.data))"
                " && (has(object.binaryData) ? has(oldObject.binaryData) && object.binaryData == oldObject.binaryData"
                " : !has(oldObject.binaryData)))",
                "message": f"the controller changes the metadata of ConfigMaps of a {KIND}, and nothing else",
            },
            {
                "expression": f"request.resource.resource != '{ROLE_BINDINGS.plural}' || object.subjects.all(subject,"
                " subject.kind == 'ServiceAccount' && has(subject.namespace) && subject.namespace == request.namespace)",
                "message": "the controller binds rights to accounts of the same namespace",
            },
            {
                "expression": f"request.resource.resource != '{ROLE_BINDINGS.plural}' || object.roleRef.kind == 'Role'",
                "message": "the controller binds roles of the same namespace",
            },
            {
                "expression": f"request.resource.resource != '{ROLES.plural}' || object.rules.all(rule,"
                f" rule.apiGroups == ['{CONFIG_MAPS.group}'] && rule.resources == ['{CONFIG_MAPS.plural}'])",
                "message": "the controller grants rights on ConfigMaps, and no others",
            },
        ],
    }


def objects(name: str, user: str, labels: Mapping[str, str]) -> list[KubeObject]:
    """Return the policy and its binding under a name."""
    metadata = {"name": name, "labels": dict(labels)}
    return [
        {"apiVersion": POLICIES.api_version, "kind": POLICIES.kind, "metadata": metadata, "spec": spec(user)},
        {
            "apiVersion": BINDINGS.api_version,
            "kind": BINDINGS.kind,
            "metadata": metadata,
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]
