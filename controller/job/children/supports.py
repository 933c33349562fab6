"""The small objects of an attempt beside its RayJob, in the order in which they are created.

They are created before the RayJob, and again when somebody deletes one while the attempt runs. Pure.
Test: tests/controller/job/test_supports.py.
"""

from typing import Any

from controller.job.children.configmap import config_map, progress_config_map
from controller.job.children.rbac import role, role_binding, service_account
from controller.job.facts import Job
from controller.runtime.resources import CONFIG_MAPS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, Resource


def small_objects(job: Job, attempt: int) -> list[tuple[Resource, dict[str, Any]]]:
    """Return what the attempt is told, where it reports, and what gives its head the right to."""
    return [
        (CONFIG_MAPS, config_map(job, attempt)),
        (CONFIG_MAPS, progress_config_map(job, attempt)),
        (SERVICE_ACCOUNTS, service_account(job, attempt)),
        (ROLES, role(job, attempt)),
        (ROLE_BINDINGS, role_binding(job, attempt)),
    ]
