"""Which objects are watched, and which FineTuneJobs each change concerns.

A job's key goes into the queue when the job or anything with its label changes, when a claim that it names is created or
deleted, and when a quota gets room for what it has refused the job. Tests: tests/controller/test_watching.py.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from controller.job.objects.form import SHARED_ACCOUNT
from controller.job.quotas import Refusal
from controller.job.workloads import says_the_same
from controller.kinds import FINE_TUNE_JOBS, JOB_LABEL, RAY_JOBS, WORKLOADS
from controller.projections import (
    kept_of_claim,
    kept_of_config_map,
    kept_of_job,
    kept_of_pod,
    kept_of_quota,
    kept_of_ray_job,
    kept_of_support,
    kept_of_workload,
)
from controller.runtime.client import PAGE_LIMIT, Client, Project
from controller.runtime.metrics import Metrics
from controller.runtime.reflector import Reflector, Selection, Timings
from controller.runtime.resources import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RESOURCE_QUOTAS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    KubeObject,
    Resource,
    object_key,
)
from controller.runtime.rights import rights
from controller.runtime.store import Change, Filled, Store, StoreState
from controller.stores import (
    CLAIM_INDEX,
    EARLIER_INDEX,
    QUEUED_INDEX,
    QUOTA_INDEX,
    Stores,
    earlier_jobs_of,
    owner_of,
    quota_words,
    ray_job_of,
)

CONFIG_MAPS_PER_PAGE = 50
"""Each may have a mebibyte, and every attempt has one that the trainer fills."""
JOBS_PER_PAGE, RAY_JOBS_PER_PAGE, WORKLOADS_PER_PAGE = 250, 100, 100
"""Of tens of KiB each while they are decoded, most of it pod templates and managed fields."""

WHY_SUPPORTS = "Watched without their contents: a job whose rights somebody deletes can report no more, so they are created again."
RIGHTS = (
    *rights(FINE_TUNE_JOBS, "list", "watch"),
    *rights(RAY_JOBS, "list", "watch"),
    *rights(PODS, "list", "watch"),
    *rights(CONFIG_MAPS, "list", "watch"),
    *rights(SERVICE_ACCOUNTS, "list", "watch", why=WHY_SUPPORTS),
    *rights(ROLES, "list", "watch", why=WHY_SUPPORTS),
    *rights(ROLE_BINDINGS, "list", "watch", why=WHY_SUPPORTS),
    *rights(PERSISTENT_VOLUME_CLAIMS, "list", "watch"),
    *rights(RESOURCE_QUOTAS, "list", "watch", why="A quota that has room again is a reason to retry the jobs that it refused."),
    *rights(WORKLOADS, "list", "watch", why="Kueue's: they say what a job in a queue waits for, and why it was evicted."),
)

Enqueue = Callable[[str], None]
EnqueueAfter = Callable[[str, float], None]
KeysOf = Callable[[Stores, Change], Iterable[str]]
REWORDED_SECONDS = 15.0
"""Kueue rewords why a job waits whenever others in the queue come and go; each pass that repeats it writes the job's status."""


def keys_of_child(_: Stores, change: Change) -> Iterable[str]:
    """Return the keys of the jobs that a child belongs or belonged to, by its owner or its label."""
    return {key for item in (change.old, change.new) if item is not None for key in owner_of(item)}


def keys_of_support(stores: Stores, change: Change) -> Iterable[str]:
    """Return the keys of the jobs that an account or a right belongs to; of all in the namespace, if their shared one was deleted."""
    if change.new is not None or change.key.partition("/")[2] != SHARED_ACCOUNT:
        return keys_of_child(stores, change)
    sharing = [key for key in stores.jobs.keys() if key.startswith(change.key.removesuffix(SHARED_ACCOUNT))]  # noqa: SIM118 - no mapping
    return {*keys_of_child(stores, change), *sharing}


def keys_of_claim(stores: Stores, change: Change) -> Iterable[str]:
    """Return the keys of the jobs that name a claim, if it was created or deleted; other changes do not matter here."""
    if change.old is not None and change.new is not None:
        return ()
    return _keys(stores.jobs.by_index(CLAIM_INDEX, change.key))


def keys_of_job(stores: Stores, change: Change) -> Iterable[str]:
    """Return the key of a job; of those that name it to start from, if it came, went, ended or has another state; and of those that it
    names, which may be waiting with their deletion, if it has found them, ended or went."""
    waiting = [] if _state(change.old) == _state(change.new) else _keys(stores.jobs.by_index(EARLIER_INDEX, change.key))
    named = [] if _needs(change.old) == _needs(change.new) else list(earlier_jobs_of(change.new or change.old or {}))
    return (change.key, *waiting, *named)


def _state(job: KubeObject | None) -> tuple[object, ...]:
    """Return what jobs that start from this one wait for."""
    if job is None:
        return ()
    status, metadata = job.get("status") or {}, job["metadata"]
    return metadata.get("uid"), bool(metadata.get("deletionTimestamp")), status.get("phase")


def _needs(job: KubeObject | None) -> tuple[object, ...]:
    """Return what jobs that this one starts from wait for before they are deleted."""
    return (*_state(job), ((job or {}).get("status") or {}).get("earlierJobs"))


def keys_of_quota(stores: Stores, change: Change) -> Iterable[str]:
    """Return the keys of the jobs that this change of a quota may admit."""
    waiting = stores.jobs.by_index(QUOTA_INDEX, change.key.partition("/")[0])
    return _keys(job for job in waiting if any(Refusal.read(words).concerns(change.old, change.new) for words in quota_words(job)))


def keys_of_workload(stores: Stores, change: Change) -> Iterable[str]:
    """Return the keys of the jobs whose RayJob a workload was made for. A RayJob that is not known yet brings its job's key itself."""
    ray_jobs = {key for item in (change.old, change.new) if item is not None for key in ray_job_of(item)}
    known = [item for item in map(stores.ray_jobs.get, sorted(ray_jobs)) if item is not None]
    return {key for item in known for key in owner_of(item)}


def _keys(jobs: Iterable[KubeObject]) -> list[str]:
    return [object_key(job) for job in jobs]


def build_reflectors(
    stores: Stores,
    client: Client,
    metrics: Metrics,
    enqueue: Enqueue,
    enqueue_after: EnqueueAfter,
    *,
    namespaces: Sequence[str] = (),
    timings: Timings = Timings(),
) -> list[Reflector]:
    """Return one reflector per store of `stores`, or per store and namespace where only some namespaces are watched.

    They call `enqueue` with the keys of the jobs to reconcile, and `enqueue_after` with those that have so many seconds time.
    """

    def on(keys_of: KeysOf) -> Callable[[Change], None]:
        def on_change(change: Change) -> None:
            for key in keys_of(stores, change):
                enqueue(key)

        return on_change

    def on_pod(change: Change) -> None:
        keys = keys_of_child(stores, change)
        stores.fallen.take(change, keys)
        for key in keys:
            enqueue(key)

    def on_workload(change: Change) -> None:
        reworded = says_the_same(change.old, change.new)
        for key in keys_of_workload(stores, change):
            enqueue_after(key, REWORDED_SECONDS) if reworded else enqueue(key)

    def wake_queued(namespace: str | None) -> Callable[[StoreState], None]:
        def on_state(state: StoreState) -> None:
            for key in _keys(stores.jobs.by_index(QUEUED_INDEX, namespace or "")):
                enqueue(key)

        return on_state

    def wake(namespace: str | None) -> Callable[[StoreState], None]:
        def on_state(state: StoreState) -> None:
            for key in [key for key in stores.jobs.keys() if namespace is None or key.startswith(f"{namespace}/")]:  # noqa: SIM118 - no mapping
                enqueue(key)

        return on_state

    def reflect(
        resource: Resource,
        store: Store,
        on_change: Callable[[Change], None],
        selection: Selection,
        project: Project,
        page_limit: int = PAGE_LIMIT,
    ) -> Iterator[Reflector]:
        parts: list[tuple[Filled, Selection]] = [(store.part(each), replace(selection, namespace=each)) for each in namespaces]
        for filled, selected in parts or [(store, selection)]:
            # KubeRay was installed or removed, or the last that a namespace lacked may be listed.
            on_state = wake(selected.namespace) if resource is RAY_JOBS or selected.namespace else lambda state: None
            if resource is WORKLOADS:  # Kueue was installed or removed
                on_state = wake_queued(selected.namespace)
            yield Reflector(
                client, resource, filled, metrics,
                on_change=on_change, on_state=on_state, selection=selected, project=project, timings=timings, page_limit=page_limit,
                optional=resource is WORKLOADS,
            )  # fmt: skip

    everything = Selection()
    ours = Selection(label_selector=JOB_LABEL)
    names_of_ours = Selection(label_selector=JOB_LABEL, metadata_only=True)
    return [
        *reflect(FINE_TUNE_JOBS, stores.jobs, on(keys_of_job), everything, kept_of_job, JOBS_PER_PAGE),
        *reflect(RAY_JOBS, stores.ray_jobs, on(keys_of_child), ours, kept_of_ray_job, RAY_JOBS_PER_PAGE),
        *reflect(PODS, stores.pods, on_pod, ours, kept_of_pod),
        *reflect(CONFIG_MAPS, stores.progress, on(keys_of_child), ours, kept_of_config_map, CONFIG_MAPS_PER_PAGE),
        *reflect(SERVICE_ACCOUNTS, stores.service_accounts, on(keys_of_support), names_of_ours, kept_of_support),
        *reflect(ROLES, stores.roles, on(keys_of_support), names_of_ours, kept_of_support),
        *reflect(ROLE_BINDINGS, stores.role_bindings, on(keys_of_support), names_of_ours, kept_of_support),
        *reflect(PERSISTENT_VOLUME_CLAIMS, stores.claims, on(keys_of_claim), Selection(metadata_only=True), kept_of_claim),
        *reflect(RESOURCE_QUOTAS, stores.quotas, on(keys_of_quota), everything, kept_of_quota),
        *reflect(WORKLOADS, stores.workloads, on_workload, everything, kept_of_workload, WORKLOADS_PER_PAGE),
    ]
