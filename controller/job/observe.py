"""Gathers what is known of one job from the caches, and asks the API server for the little that caches must not answer.

Reads only. Test: tests/controller/job/test_observe.py.
"""

from typing import Protocol

from controller.api.status import Attempt
from controller.job import names
from controller.job.attempts import unfinished
from controller.job.facts import Job, Missing, Observed, PodFacts, RayJobFacts, attempt_of, belongs_to, job_from, pod_from, ray_job_from
from controller.job.failures import ray_job_state
from controller.job.names import UID_LABEL
from controller.job.trainconfig import FileReference, references
from controller.runtime.client import ListPage
from controller.runtime.errors import NotFound, ResourceAbsent
from controller.runtime.resources import CONFIG_MAPS, PODS, KubeObject, Resource
from controller.runtime.store import StoreState
from controller.stores import OWNER_INDEX, RAY_CLUSTERS, RAY_JOBS, Stores
from trainer.config.record import RECORD_KEY


class Reader(Protocol):
    """The part of the client that observing needs."""

    async def get(self, resource: Resource, name: str, namespace: str | None = None, *, metadata_only: bool = False) -> KubeObject:
        """Return an object; raise NotFound."""

    async def list_all(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str | None = None, metadata_only: bool = False
    ) -> ListPage:
        """Return all objects with these labels."""


async def observe(key: str, stores: Stores, reader: Reader) -> Observed | None:
    """Return what is known of the job `namespace/name`, None if there is no such job."""
    item = stores.jobs.get(key)
    if item is None:
        return None
    job = job_from(item)
    installed = stores.ray_jobs.state is not StoreState.ABSENT
    ray_jobs = [ray_job_from(child) for child in stores.ray_jobs.by_index(OWNER_INDEX, key) if belongs_to(child, job)]
    pods = [pod_from(pod) for pod in stores.pods.by_index(OWNER_INDEX, key) if belongs_to(pod, job)]
    clusters: list[int] = []
    attempt = unfinished(job.status)
    seen = attempt is None or any(ray_job.name == attempt.ray_job_name for ray_job in ray_jobs)
    if attempt is not None and installed and not seen and attempt.start_time is not None:
        ray_jobs += await _unseen_ray_job(job, attempt, reader)
    elif installed and not seen:
        ray_jobs, pods, clusters = await _on_the_server(job, pods, reader)
    current = next((ray_job for ray_job in ray_jobs if attempt is not None and ray_job.name == attempt.ray_job_name), None)
    return Observed(
        job=job,
        ray_jobs=tuple(ray_jobs),
        pods=tuple(pods),
        clusters=tuple(clusters),
        record=await _record(job, attempt, current, stores, reader) if attempt is not None and installed else None,
        missing=await _missing(job, stores, reader) if _may_start(job, current) else (),
        kuberay_installed=installed,
    )


def _may_start(job: Job, current: RayJobFacts | None) -> bool:
    ended = any(condition.status == "True" and condition.type in ("Succeeded", "Failed") for condition in job.status.conditions or [])
    return current is None and not (ended or job.deleting or job.suspended)


async def _on_the_server(job: Job, cached: list[PodFacts], reader: Reader) -> tuple[list[RayJobFacts], list[PodFacts], list[int]]:
    """Return RayJobs, pods and the attempts of RayClusters as the server has them, before an attempt is created.

    A watch may be dead for two minutes before it is noticed; an attempt that starts upon what a cache does not know writes
    beside the one before.
    """
    ours = f"{UID_LABEL}={job.uid}"
    ray_jobs = await reader.list_all(RAY_JOBS, job.namespace, label_selector=ours)
    pods = await reader.list_all(PODS, job.namespace, label_selector=ours, metadata_only=True)
    try:
        clusters = (await reader.list_all(RAY_CLUSTERS, job.namespace, label_selector=ours, metadata_only=True)).items
    except ResourceAbsent:
        clusters = []
    known = {pod.name: pod for pod in cached}
    there = [known.get(pod["metadata"]["name"]) or pod_from(pod) for pod in pods.items]
    return [ray_job_from(item) for item in ray_jobs.items], there, [attempt_of(cluster) for cluster in clusters]


async def _unseen_ray_job(job: Job, attempt: Attempt, reader: Reader) -> list[RayJobFacts]:
    """Return the attempt's RayJob if it once was seen and the cache has it no more: only the server knows that it is gone.

    To take a cache that lags behind for a deletion would charge the user an attempt.
    """
    try:
        item = await reader.get(RAY_JOBS, attempt.ray_job_name, job.namespace)
    except NotFound:
        return []
    return [ray_job_from(item)] if belongs_to(item, job) else []


async def _record(job: Job, attempt: Attempt, ray_job: RayJobFacts | None, stores: Stores, reader: Reader) -> str | None:
    """Return the trainer's newest record; at the end from the server, because the last word decides about retries.

    Where the RayJob is gone, the record outlives it: a finished RayJob may have been cleared away before it was seen.
    """
    if ray_job is None and attempt.start_time is None:
        return None
    name = names.progress_name(job.name, attempt.number)
    item = stores.progress.get(f"{job.namespace}/{name}")
    text = _record_in(item, job)
    if (ray_job is None or ray_job_state(ray_job).final) and '"outcome"' not in (text or ""):
        try:
            text = _record_in(await reader.get(CONFIG_MAPS, name, job.namespace), job)
        except NotFound:
            return text
    return text


def _record_in(item: KubeObject | None, job: Job) -> str | None:
    if item is None or not belongs_to(item, job):
        return None
    text = (item.get("data") or {}).get(RECORD_KEY)
    return text if isinstance(text, str) else None


async def _missing(job: Job, stores: Stores, reader: Reader) -> tuple[Missing, ...]:
    """Return what the spec names and the namespace lacks, each with its field and what to do."""
    if job.spec is None:
        return ()
    output = FileReference("output", claim=job.spec.output.persistent_volume_claim)
    problems: list[Missing] = []
    keys = await _keys_of_config_maps(job, reader)
    for reference in [*references(job.spec), output]:
        if reference.claim is not None and stores.claims.get(f"{job.namespace}/{reference.claim.claim_name}") is None:
            message = (
                f"{reference.field}.persistentVolumeClaim: there is no PersistentVolumeClaim {reference.claim.claim_name} in namespace "
                f"{job.namespace}; create it and the job starts by itself"
            )
            problems.append(Missing(message, watched=True))
        if reference.config_map is not None:
            problems += _config_map_problem(job, reference, keys[reference.config_map.name])
    return tuple(dict.fromkeys(problems))


async def _keys_of_config_maps(job: Job, reader: Reader) -> dict[str, list[str] | None]:
    """Return the keys of each ConfigMap that the spec names, None for one that is not there; each is asked for once."""
    keys: dict[str, list[str] | None] = {}
    for name in sorted({reference.config_map.name for reference in references(job.valid_spec) if reference.config_map is not None}):
        try:
            item = await reader.get(CONFIG_MAPS, name, job.namespace)
        except NotFound:
            keys[name] = None
        else:
            keys[name] = sorted([*(item.get("data") or {}), *(item.get("binaryData") or {})])
    return keys


def _config_map_problem(job: Job, reference: FileReference, keys: list[str] | None) -> list[Missing]:
    if reference.config_map is None:
        return []
    name, key = reference.config_map.name, reference.config_map.key
    field = f"{reference.field}.configMap"
    if keys is None:
        return [Missing(f"{field}: there is no ConfigMap {name} in namespace {job.namespace}; create it and the job starts by itself")]
    if key in keys:
        return []
    there = ", ".join(keys) or "none"
    return [Missing(f"{field}: ConfigMap {name} has no key {key} (it has: {there}); add it and the job starts by itself")]
