"""The identity of an attempt's head pod: it may read and patch its own progress ConfigMap, and nothing else.

The account that the heads in a namespace share may create and patch ConfigMaps, and an admission policy limits it to what each may: see
controller.job.objects.policy.

Pure. Test: tests/controller/job/objects/test_rbac.py.
"""

from typing import Any

from controller.job import names
from controller.job.facts import Job
from controller.job.objects.form import SHARED_ACCOUNT
from controller.job.objects.metadata import child
from controller.kinds import JOB_LABEL
from controller.runtime.resources import CONFIG_MAPS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, KubeObject, Resource
from controller.runtime.rights import rights
from finetune.api.attempts import attempt_name

RBAC_GROUP = ROLES.group
RIGHTS = rights(
    CONFIG_MAPS,
    "get",
    "patch",
    why="A job's own account may patch its progress ConfigMap, and an account can only grant rights that it holds itself.",
)
"""What a role grants here, the controller itself has to hold."""


def service_account(job: Job, attempt: int) -> dict[str, Any]:
    """Return the account of the head pod; its token is mounted only where it is used."""
    return child(SERVICE_ACCOUNTS, attempt_name(job.name, attempt), job, attempt, automountServiceAccountToken=False)


def role(job: Job, attempt: int) -> dict[str, Any]:
    """Return what that account may do."""
    rule = {
        "apiGroups": [CONFIG_MAPS.group],
        "resources": [CONFIG_MAPS.plural],
        "resourceNames": [names.progress_name(job.name, job.uid, attempt)],
        "verbs": [right.verb for right in RIGHTS],
    }
    return child(ROLES, attempt_name(job.name, attempt), job, attempt, rules=[rule])


def role_binding(job: Job, attempt: int) -> dict[str, Any]:
    """Return what gives the role to the account."""
    name = attempt_name(job.name, attempt)
    return child(
        ROLE_BINDINGS,
        name,
        job,
        attempt,
        roleRef={"apiGroup": RBAC_GROUP, "kind": ROLES.kind, "name": name},
        subjects=[{"kind": SERVICE_ACCOUNTS.kind, "name": name, "namespace": job.namespace}],
    )


def shared_service_account(namespace: str) -> KubeObject:
    """Return the account of all head pods in a namespace."""
    return _shared(SERVICE_ACCOUNTS, namespace, automountServiceAccountToken=False)


def shared_role(namespace: str) -> KubeObject:
    """Return what the shared account may do, within what the admission policy allows."""
    rule = {"apiGroups": [CONFIG_MAPS.group], "resources": [CONFIG_MAPS.plural], "verbs": ["create", "patch"]}
    return _shared(ROLES, namespace, rules=[rule])


def shared_role_binding(namespace: str) -> KubeObject:
    """Return what gives the role to the shared account."""
    subject = {"kind": SERVICE_ACCOUNTS.kind, "name": SHARED_ACCOUNT, "namespace": namespace}
    reference = {"apiGroup": RBAC_GROUP, "kind": ROLES.kind, "name": SHARED_ACCOUNT}
    return _shared(ROLE_BINDINGS, namespace, roleRef=reference, subjects=[subject])


def _shared(resource: Resource, namespace: str, **content: Any) -> KubeObject:
    # The label without a job's name puts it into the caches; nobody owns it, and it stays with its namespace.
    metadata = {"name": SHARED_ACCOUNT, "namespace": namespace, "labels": {JOB_LABEL: ""}}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **content}
