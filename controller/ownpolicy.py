"""The admission policy by which the API server limits the controller's own account further than a role can.

A role cannot limit what is created by its name, nor say which ConfigMaps may be patched. The account may write ConfigMaps and create
accounts and rights of jobs, and nothing else: no rows of a team, no configuration of the cluster. Chart and manifests have the policy
(`python -m controller.rights --write`). Pure. Tests: tests/controller/test_ownpolicy.py, tests/integration/test_permissions.py.
"""

from collections.abc import Mapping
from typing import Any

from controller.job.objects.form import SHARED_ACCOUNT
from controller.job.objects.policy import BINDINGS, POLICIES
from controller.kinds import JOB_LABEL
from controller.runtime.resources import CONFIG_MAPS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, KubeObject
from finetune.api.spec import API_VERSION, KIND

OF_A_JOB = f"has({{0}}.metadata.labels) && '{JOB_LABEL}' in {{0}}.metadata.labels"


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
                f" || ({OF_A_JOB.format('object')} && has(object.metadata.ownerReferences)"
                f" && object.metadata.ownerReferences.exists(owner, owner.kind == '{KIND}' && owner.apiVersion == '{API_VERSION}'"
                f" && owner.name == object.metadata.labels['{JOB_LABEL}']))"
                f" || (object.metadata.name == '{SHARED_ACCOUNT}' && request.resource.resource != '{CONFIG_MAPS.plural}')",
                "message": f"the controller creates what belongs to a {KIND}, and the account that heads share",
            },
            {
                "expression": "request.operation != 'UPDATE'"
                f" || (request.resource.resource == '{CONFIG_MAPS.plural}' && {OF_A_JOB.format('oldObject')}"
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
