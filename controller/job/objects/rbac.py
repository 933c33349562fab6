"""The identity of an attempt's head pod: it may read and patch its own progress ConfigMap, and nothing else.

Pure. Test: tests/controller/job/objects/test_rbac.py.
"""

from typing import Any

from controller.job import names
from controller.job.facts import Job
from controller.job.objects.metadata import child
from controller.runtime.resources import CONFIG_MAPS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS
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
