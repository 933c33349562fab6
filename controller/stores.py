"""The caches that the reconciler reads, with indexes by the FineTuneJob that an object belongs to.

controller.main builds and fills them, controller.job reads them. No client. Tests: tests/controller/test_stores.py.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from controller.fallen import Fallen
from controller.kinds import JOB_LABEL, QUEUE_LABEL, RAY_JOBS
from controller.namedjobs import names_of_earlier
from controller.runtime.resources import CONFIG_MAPS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, KubeObject, Resource
from controller.runtime.store import Store
from finetune.api.conditions import Reason
from finetune.api.spec import GROUP, KIND
from finetune.api.status import ConditionType

OWNER_INDEX = "owner"
"""Index of children: its values are the keys `namespace/name` of the FineTuneJobs that own a child or that its label names."""

EARLIER_INDEX = "earlier"
"""Index of jobs: its values are the keys `namespace/name` of the jobs that the spec names to start from."""

CLAIM_INDEX = "claim"
"""Index of jobs: its values are the keys `namespace/name` of the claims that the spec refers to."""

QUOTA_INDEX = "quota"
"""Index of jobs that wait for a ResourceQuota: its value is their namespace."""

QUEUED_INDEX = "queued"
"""Index of jobs whose label names a queue, or that were put into one: its values are their namespace and, for all, the empty text."""

RAY_JOB_INDEX = "rayjob"
"""Index of Kueue's workloads: its value is the key `namespace/name` of the RayJob that one was made for."""

NAMESPACE_INDEX = "namespace"
"""Index of quotas by their namespace."""


def owner_of(item: KubeObject) -> Iterable[str]:
    """Return the keys of the FineTuneJobs that own a child, and of the one that its label names.

    A pod is owned by a RayCluster and has only the label; on other children somebody may have changed the label.
    """
    metadata = item["metadata"]
    names = {(metadata.get("labels") or {}).get(JOB_LABEL)}
    names |= {
        reference.get("name")
        for reference in metadata.get("ownerReferences") or []
        if reference.get("kind") == KIND and str(reference.get("apiVersion", "")).startswith(f"{GROUP}/")
    }
    return sorted(f"{metadata['namespace']}/{name}" for name in names if name)


def claims_of(job: KubeObject) -> Iterable[str]:
    """Return the keys of the PersistentVolumeClaims that a job's spec refers to, and of those that earlier jobs wrote to."""
    namespace = job["metadata"]["namespace"]
    earlier = (job.get("status") or {}).get("earlierJobs")
    return {f"{namespace}/{name}" for name in (*_claim_names(job.get("spec")), *_claim_names(earlier))}


def earlier_jobs_of(job: KubeObject) -> Iterable[str]:
    """Return the keys of the jobs that a job's spec names to start from."""
    namespace = job["metadata"]["namespace"]
    return {f"{namespace}/{name}" for name in names_of_earlier(job)}


def refused_by_quota(job: KubeObject) -> Iterable[str]:
    """Return the namespace of a job whose status says that a quota holds it up."""
    return (job["metadata"]["namespace"],) if quota_words(job) else ()


def quota_words(job: KubeObject) -> list[str]:
    """Return the messages of a job's conditions that say that a quota holds it up."""
    return [str(each.get("message", "")) for each in _conditions(job) if each.get("reason") == Reason.QUOTA_EXCEEDED]


def _conditions(job: KubeObject) -> list[dict[str, Any]]:
    conditions = (job.get("status") or {}).get("conditions")
    return [each for each in conditions if isinstance(each, dict)] if isinstance(conditions, list) else []


def with_queue(job: KubeObject) -> Iterable[str]:
    """Return under what a job is found whose label names a queue, or whose status says that it was put into one by default."""
    labeled = (job["metadata"].get("labels") or {}).get(QUEUE_LABEL)
    queued = any(each.get("type") == ConditionType.QUEUED for each in _conditions(job))
    return (job["metadata"]["namespace"], "") if labeled or queued else ()


def ray_job_of(workload: KubeObject) -> Iterable[str]:
    """Return the key of the RayJob that Kueue has made a workload for."""
    metadata = workload["metadata"]
    owners = metadata.get("ownerReferences") or []
    return [f"{metadata['namespace']}/{each['name']}" for each in owners if each.get("kind") == RAY_JOBS.kind and "name" in each]


def namespace_of(item: KubeObject) -> Iterable[str]:
    """Return the namespace of an object."""
    return (item["metadata"]["namespace"],)


def _claim_names(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _claim_names(item)
    elif isinstance(value, dict):
        name = value.get("claimName")
        if isinstance(name, str):
            yield name
        for item in value.values():
            yield from _claim_names(item)


def _children() -> Store:
    return Store({OWNER_INDEX: owner_of})


@dataclass(frozen=True)
class Stores:
    """One store per kind. `ray_jobs.state` is `absent` where KubeRay is not installed."""

    jobs: Store = field(
        default_factory=lambda: Store(
            {CLAIM_INDEX: claims_of, QUOTA_INDEX: refused_by_quota, EARLIER_INDEX: earlier_jobs_of, QUEUED_INDEX: with_queue}
        )
    )
    ray_jobs: Store = field(default_factory=_children)
    pods: Store = field(default_factory=_children)
    fallen: Fallen = field(default_factory=Fallen)
    """Pods that failed and are in no cache any more."""
    progress: Store = field(default_factory=_children)
    """ConfigMaps with the label `finetune.dev/job`."""
    service_accounts: Store = field(default_factory=_children)
    roles: Store = field(default_factory=_children)
    role_bindings: Store = field(default_factory=_children)
    """With their label, metadata only: they show that what an attempt reports with still exists."""
    claims: Store = field(default_factory=Store)
    """PersistentVolumeClaims, metadata only: they show that a claim exists."""
    quotas: Store = field(default_factory=lambda: Store({NAMESPACE_INDEX: namespace_of}))
    """ResourceQuotas: their changes may admit jobs that they have refused."""

    workloads: Store = field(default_factory=lambda: Store({RAY_JOB_INDEX: ray_job_of}))
    """Kueue's workloads: why a job in a queue waits. Its state is `absent` where Kueue is not installed."""

    def cache_of(self, resource: Resource) -> Store:
        """Return the store of one of the kinds that an attempt is made of."""
        return {
            RAY_JOBS: self.ray_jobs,
            CONFIG_MAPS: self.progress,
            SERVICE_ACCOUNTS: self.service_accounts,
            ROLES: self.roles,
            ROLE_BINDINGS: self.role_bindings,
        }[resource]
