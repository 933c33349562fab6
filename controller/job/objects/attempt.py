"""Everything that an attempt is made of, in the order in which it is created.

The supports come first, the RayJob last: whatever runs has its configuration, a place to report to and the right to. A
support that somebody deletes while the attempt runs is created again from the same table. Pure.
Test: tests/controller/job/objects/test_attempt.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

from controller.job import names
from controller.job.facts import Job
from controller.job.objects.configmap import config_map, progress_config_map
from controller.job.objects.metadata import TrainerSettings
from controller.job.objects.placement import AccessModes
from controller.job.objects.rayjob import ray_job
from controller.job.objects.rbac import role, role_binding, service_account
from controller.kinds import RAY_JOBS
from controller.runtime.resources import CONFIG_MAPS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, KubeObject, Resource
from finetune.api.attempts import attempt_name


@dataclass(frozen=True)
class Object:
    """An object to create: its kind, and its content as it is sent."""

    resource: Resource
    item: KubeObject

    @property
    def name(self) -> str:
        """Its name in the job's namespace."""
        return str(self.item["metadata"]["name"])


@dataclass(frozen=True)
class Support:
    """A small object that an attempt needs beside its RayJob. The name is known even where the job's spec cannot be read."""

    resource: Resource
    name: Callable[[Job, int], str]
    build: Callable[[Job, int], KubeObject]


def _own(job: Job, attempt: int) -> str:
    return attempt_name(job.name, attempt)


SUPPORTS: tuple[Support, ...] = (
    Support(CONFIG_MAPS, lambda job, attempt: names.config_name(job.name, attempt), config_map),
    Support(CONFIG_MAPS, lambda job, attempt: names.progress_name(job.name, job.uid, attempt), progress_config_map),
    Support(SERVICE_ACCOUNTS, _own, service_account),
    Support(ROLES, _own, role),
    Support(ROLE_BINDINGS, _own, role_binding),
)
"""The trainer's configuration, where it reports, and what gives the head the right to report."""

KINDS: tuple[Resource, ...] = (*dict.fromkeys(support.resource for support in SUPPORTS), RAY_JOBS)
"""The kinds of all objects of an attempt."""


def supporting(job: Job, attempt: int) -> list[Object]:
    """Return the supports of an attempt; ValueError if the job's spec could not be read."""
    return [Object(support.resource, support.build(job, attempt)) for support in SUPPORTS]


def objects_of(job: Job, attempt: int, settings: TrainerSettings, modes: AccessModes) -> list[Object]:
    """Return all objects of an attempt in creation order; `modes` are the access modes of the claims that its pods mount.

    ValueError if the job's spec could not be read.
    """
    return [*supporting(job, attempt), Object(RAY_JOBS, ray_job(job, attempt, settings, modes))]
