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
from controller.job.objects.form import SHARED_ACCOUNT, Form
from controller.job.objects.metadata import TrainerSettings
from controller.job.objects.placement import AccessModes
from controller.job.objects.rayjob import ray_job
from controller.job.objects.rbac import (
    role,
    role_binding,
    service_account,
    shared_role,
    shared_role_binding,
    shared_service_account,
)
from controller.kinds import RAY_JOBS
from controller.runtime.resources import CONFIG_MAPS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, KubeObject, Resource
from finetune.api.attempts import attempt_name


@dataclass(frozen=True)
class Object:
    """An object to create: its kind, and its content as it is sent. `shared`: it is the namespace's, and no job's."""

    resource: Resource
    item: KubeObject
    shared: bool = False

    @property
    def name(self) -> str:
        """Its name in the job's namespace."""
        return str(self.item["metadata"]["name"])


@dataclass(frozen=True)
class Support:
    """A small object that an attempt needs beside its RayJob. The name is known even where the job's spec cannot be read.

    `needed` says which forms of an attempt have it.
    """

    resource: Resource
    name: Callable[[Job, int], str]
    build: Callable[[Job, int], KubeObject]
    needed: Callable[[Form], bool] = lambda form: True
    shared: bool = False


def _own(job: Job, attempt: int) -> str:
    return attempt_name(job.name, attempt)


def _apart(form: Form) -> bool:
    return not form.config_inside


def _alone(form: Form) -> bool:
    return not form.shared_account


def _together(form: Form) -> bool:
    return form.shared_account


SHARED: dict[Resource, Callable[[str], KubeObject]] = {
    SERVICE_ACCOUNTS: shared_service_account,
    ROLES: shared_role,
    ROLE_BINDINGS: shared_role_binding,
}
"""The account that the heads in a namespace share, and its rights."""


def _of_namespace(kind: Resource) -> Support:
    return Support(kind, lambda job, attempt: SHARED_ACCOUNT, lambda job, attempt: SHARED[kind](job.namespace), _together, shared=True)


SUPPORTS: tuple[Support, ...] = (
    Support(CONFIG_MAPS, lambda job, attempt: names.config_name(job.name, attempt), config_map, _apart),
    Support(CONFIG_MAPS, lambda job, attempt: names.progress_name(job.name, job.uid, attempt), progress_config_map, _apart),
    Support(SERVICE_ACCOUNTS, _own, service_account, _alone),
    Support(ROLES, _own, role, _alone),
    Support(ROLE_BINDINGS, _own, role_binding, _alone),
)
"""The trainer's configuration, where it reports, and what gives the head the right to report, where an attempt has all of its own."""


def supports(form: Form) -> tuple[Support, ...]:
    """Return the supports of an attempt of this form."""
    return tuple(support for support in (*map(_of_namespace, SHARED), *SUPPORTS) if support.needed(form))


KINDS: tuple[Resource, ...] = (*dict.fromkeys(support.resource for support in SUPPORTS), RAY_JOBS)
"""The kinds of all objects of an attempt."""


def supporting(job: Job, attempt: int, form: Form = Form()) -> list[Object]:
    """Return the supports of an attempt; ValueError if the job's spec could not be read."""
    return [Object(support.resource, support.build(job, attempt), support.shared) for support in supports(form)]


def shared_objects(namespace: str) -> list[Object]:
    """Return the account that the heads in a namespace share, and its rights."""
    return [Object(kind, build(namespace), shared=True) for kind, build in SHARED.items()]


def objects_of(job: Job, attempt: int, settings: TrainerSettings, modes: AccessModes, form: Form = Form()) -> list[Object]:
    """Return all objects of an attempt's own in creation order; `modes` are the access modes of the claims that its pods mount.

    ValueError if the job's spec could not be read.
    """
    own = [each for each in supporting(job, attempt, form) if not each.shared]
    return [*own, Object(RAY_JOBS, ray_job(job, attempt, settings, modes, form))]
