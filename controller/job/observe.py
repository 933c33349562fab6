"""Gathers what is known about one job from the caches, and asks the API server where a stale answer would do harm.

Reads only. Test: tests/controller/job/test_observe.py.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from controller.job.devices import missing_devices
from controller.job.earlier import earlier_of, needed_by
from controller.job.facts import EarlierFacts, Job, Kueue, Missing, Observed, PodFacts, RayJobFacts, Supports
from controller.job.failures import ray_job_state
from controller.job.history import rebuilt
from controller.job.names import UID_LABEL, attempt_of_ray_job
from controller.job.objects.placement import access_modes, claims
from controller.job.parsing import attempt_of, has_label_of, is_owned_by, is_ray_job_of, job_from, pod_from, ray_job_from
from controller.job.recent import Recent
from controller.job.remains import remains
from controller.job.supports import Reader, held, is_progress_of, progress_of, record_in, report_from, strays, supports_of
from controller.job.verdict import verdict_on
from controller.job.workloads import workload_of
from controller.kinds import RAY_CLUSTERS, RAY_JOBS
from controller.runtime.errors import NotFound, ResourceAbsent
from controller.runtime.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PODS, KubeObject, Resource
from controller.runtime.rights import rights
from controller.runtime.store import StoreState
from controller.stores import EARLIER_INDEX, OWNER_INDEX, RAY_JOB_INDEX, Stores
from finetune.api.attempts import attempt_name, unfinished
from finetune.api.resolve import FileReference, references
from finetune.api.status import Attempt, AttemptOutcome, FineTuneJobStatus

RIGHTS = (
    *rights(RAY_JOBS, "get", "list"),
    *rights(PODS, "list"),
    *rights(RAY_CLUSTERS, "list", why="Listed before an attempt starts: the cluster of an earlier attempt may still write to the output."),
    *rights(PERSISTENT_VOLUME_CLAIMS, "get"),
    *rights(CONFIG_MAPS, "get"),
)

KUEUE = {StoreState.SYNCED: Kueue.WATCHED, StoreState.ABSENT: Kueue.ABSENT}


async def observe(
    key: str,
    stores: Stores,
    reader: Reader,
    recent: Recent,
    *,
    gpu_claim_template: str | None = None,
    put_off: bool = False,
    has_no_past: bool = False,
) -> Observed | None:
    """Return what is known about the job `namespace/name`, None if there is no such job.

    `gpu_claim_template` is the administrator's setting of that name, where GPUs are allocated dynamically.
    `put_off`: its next attempt is not going to be created in this pass. What only a creation needs to know is then not asked
    of the API server, for the job may wait for days; what is returned must not be taken for the basis of one.
    `has_no_past`: its first attempt was written a moment ago, and nothing of it or of an earlier one can exist: the caches are enough,
    and what was read a moment ago for other jobs.
    """
    item = stores.jobs.get(key)
    if item is None:
        return None
    job = job_from(item)
    installed = stores.ray_jobs.state_in(job.namespace) is not StoreState.ABSENT
    children = [child for child in stores.ray_jobs.by_index(OWNER_INDEX, key) if is_ray_job_of(child, job)]
    ray_jobs = [ray_job_from(child, job.name) for child in children]
    pods = [pod_from(pod) for pod in stores.pods.by_index(OWNER_INDEX, key) if has_label_of(pod, job)]
    fallen = [pod_from(pod) for pod in stores.fallen.of(key) if has_label_of(pod, job)]
    named = stores.progress.by_index(OWNER_INDEX, key)
    reports = [report for report in named if is_progress_of(report, job)]
    job = replace(job, status=_with_history(job, children, reports))
    attempt, clusters, cached = unfinished(job.status), list[int](), len(ray_jobs)
    begun = attempt is None or attempt.start_time is not None
    asks = begun or not put_off
    if installed and asks and not job.deleting:
        ray_jobs += await _unseen_ray_jobs(job, ray_jobs, pods, reader)
    current = _ray_job_of(attempt, ray_jobs)
    unwatched = current in ray_jobs[cached:]
    if installed and asks and not begun and current is None and not has_no_past:
        ray_jobs, pods, clusters = await _on_the_server(job, pods, reader)
        current = _ray_job_of(attempt, ray_jobs)
    report = await progress_of(job, current, stores, reader) if installed else None
    leaving = installed and attempt is not None and begun and current is None and not await reader.takes_new(RAY_JOBS)
    runs = attempt is not None and current is not None and not ray_job_state(current).final
    observed = Observed(
        job=job,
        ray_jobs=tuple(ray_jobs),
        pods=tuple(pods),
        fallen=tuple(fallen),
        clusters=tuple(clusters),
        record=record_in(report),
        kuberay_installed=installed and not leaving,
        kuberay_leaving=leaving,
        unwatched=unwatched,
        kueue=_kueue(stores, job.namespace),
        workload=None
        if current is None
        else workload_of(current.uid, stores.workloads.by_index(RAY_JOB_INDEX, f"{job.namespace}/{current.name}")),
        supports=await supports_of(job, attempt.number, report, stores, reader, current.form)
        if runs and attempt is not None and current is not None
        else Supports(),
        held=held(job, reports if report is None else [*reports, report]),
        strays=strays(job, named),
    )
    if verdict_on(job.status) is not None:
        goes = job.run_policy.ttl_seconds_after_finished is not None
        return replace(observed, needed_by=needed_by(item, stores.jobs.by_index(EARLIER_INDEX, key))) if goes else observed
    if current is not None or job.deleting:
        return observed
    observed = replace(observed, earlier=earlier_of(job, lambda name: stores.jobs.get(f"{job.namespace}/{name}")))
    if job.suspended:
        return observed
    observed = await _with_references(observed, attempt, stores, reader, recent, asks=asks, has_no_past=has_no_past)
    to_begin = attempt is None or attempt.start_time is None
    without = await missing_devices(job, gpu_claim_template, recent) if asks and to_begin else ()
    return replace(observed, missing=(*observed.missing, *without))


def _kueue(stores: Stores, namespace: str) -> Kueue:
    if stores.workloads.refused_in(namespace):
        return Kueue.FORBIDDEN
    return KUEUE.get(stores.workloads.state_in(namespace), Kueue.UNKNOWN)


async def _with_references(
    observed: Observed, attempt: Attempt | None, stores: Stores, reader: Reader, recent: Recent, *, asks: bool, has_no_past: bool
) -> Observed:
    """Return what is known with what the spec refers to: whether it exists and, before a creation, how claims may be mounted."""
    job, modes = observed.job, dict[str, list[str] | None]()
    creates = attempt is not None and attempt.start_time is None and observed.kuberay_installed
    if asks and creates and not remains(observed, attempt):
        modes = await (_recent_access_modes(job, recent) if has_no_past else _access_modes(job, reader))
    return replace(
        observed,
        access_modes={name: found for name, found in modes.items() if found is not None},
        missing=(*await _missing(job, modes, stores, recent, asks=asks), *_missing_of_earlier(job, observed.earlier, modes, stores)),
    )


def _with_history(job: Job, ray_jobs: Sequence[KubeObject], reports: Sequence[KubeObject]) -> FineTuneJobStatus:
    """Return the status with the history that its objects show; only owned ones count, for anybody may set a name or a label."""
    owned = [ray_job_from(item, job.name) for item in ray_jobs if is_owned_by(item, job.uid)]
    return rebuilt(job, owned, [report_from(report, job) for report in reports if is_owned_by(report, job.uid)])


def _ray_job_of(attempt: Attempt | None, ray_jobs: Sequence[RayJobFacts]) -> RayJobFacts | None:
    return next((ray_job for ray_job in ray_jobs if attempt is not None and ray_job.name == attempt.ray_job_name), None)


async def _on_the_server(job: Job, cached: list[PodFacts], reader: Reader) -> tuple[list[RayJobFacts], list[PodFacts], list[int]]:
    """Return RayJobs, pods and the attempts of RayClusters from the API server, before an attempt is created.

    A watch may be dead for two minutes before that is noticed; an attempt that starts on a stale cache may write beside the
    one before.
    """
    ours = f"{UID_LABEL}={job.uid}"
    ray_jobs = [item for item in (await reader.list_all(RAY_JOBS, job.namespace, label_selector=ours)).items if is_ray_job_of(item, job)]
    listed = {item["metadata"]["name"] for item in ray_jobs}
    # The last two attempts are found by name, in case they have lost their labels.
    for attempt in (job.status.attempts or [])[-2:]:
        name = attempt_name(job.name, attempt.number)
        item = None if name in listed else await _find(RAY_JOBS, name, job, reader)
        ray_jobs += [item] if item is not None and is_ray_job_of(item, job) else []
    pods = await reader.list_all(PODS, job.namespace, label_selector=ours, metadata_only=True)
    try:
        clusters = (await reader.list_all(RAY_CLUSTERS, job.namespace, label_selector=ours, metadata_only=True)).items
    except ResourceAbsent:
        clusters = []
    known = {pod.name: pod for pod in cached}
    there = [known.get(pod["metadata"]["name"]) or pod_from(pod) for pod in pods.items]
    return [ray_job_from(item, job.name) for item in ray_jobs], there, [attempt_of(cluster) for cluster in clusters]


async def _unseen_ray_jobs(job: Job, cached: Sequence[RayJobFacts], pods: Sequence[PodFacts], reader: Reader) -> list[RayJobFacts]:
    """Return RayJobs that must exist or have existed but are not in the cache; only the server knows what became of them.

    If a stale cache counted as a deletion, the user would be charged an attempt; and a RayJob whose label somebody has removed
    is in no cache, but runs.
    """
    attempt, known = unfinished(job.status), {attempt_of_ray_job(ray_job.name, job.name) for ray_job in cached}
    wanted = {pod.attempt for pod in pods if pod.attempt}
    last = job.status.attempts[-1] if job.status.attempts else None
    if last is not None and last.outcome is AttemptOutcome.SUSPENDED and (job.suspended or last.start_time is None):
        # A suspended job is rarely looked at, and nothing of it may run on; what was never seen may still have been created.
        wanted.add(last.number)
    if attempt is not None:
        wanted = wanted - {attempt.number} if attempt.start_time is None else wanted | {attempt.number}
    found = [await _find(RAY_JOBS, attempt_name(job.name, number), job, reader) for number in sorted(wanted - known)]
    return [ray_job_from(item, job.name) for item in found if item is not None and is_ray_job_of(item, job)]


async def _find(resource: Resource, name: str, job: Job, reader: Reader) -> KubeObject | None:
    try:
        return await reader.get(resource, name, job.namespace)
    except NotFound:
        return None


async def _recent_access_modes(job: Job, recent: Recent) -> dict[str, list[str] | None]:
    return {name: await recent.modes(job.namespace, name) for name, _ in (claims(job) if job.spec else [])}


async def _access_modes(job: Job, reader: Reader) -> dict[str, list[str] | None]:
    """Return the access modes of the claims in use from the API server, None for a claim that does not exist.

    The cache has metadata only, and a volume that was bound since may be mounted in more ways than the claim asks for.
    """
    found = {name: await _find(PERSISTENT_VOLUME_CLAIMS, name, job, reader) for name, _ in (claims(job) if job.spec else [])}
    return {name: None if item is None else access_modes(item) for name, item in found.items()}


async def _missing(job: Job, modes: Mapping[str, object], stores: Stores, recent: Recent, *, asks: bool) -> tuple[Missing, ...]:
    """Return what the spec refers to and does not exist in the namespace, each with its field and what to do.

    `modes` has the claims that were read from the server, None for those that do not exist; for others the cache decides.
    ConfigMaps are in no cache: without `asks` they are taken to exist.
    """
    if job.spec is None:
        return ()
    output = FileReference("output", claim=job.spec.output.persistent_volume_claim)
    problems: list[Missing] = []
    keys = await _keys_of_config_maps(job, recent) if asks else {}
    for reference in [*references(job.spec), output]:
        name = reference.claim.claim_name if reference.claim is not None else ""
        if name and modes.get(name, stores.claims.get(f"{job.namespace}/{name}")) is None:
            message = (
                f"{reference.field}.persistentVolumeClaim: there is no PersistentVolumeClaim {name} in namespace "
                f"{job.namespace}; create it and the job starts by itself"
            )
            problems.append(Missing(message, watched=True))
        if reference.config_map is not None and asks:
            problems += _config_map_problem(job, reference, keys[reference.config_map.name])
    return tuple(dict.fromkeys(problems))


def _missing_of_earlier(job: Job, earlier: Sequence[EarlierFacts], modes: Mapping[str, object], stores: Stores) -> list[Missing]:
    """Return the claims of earlier jobs that do not exist; those in status are watched."""
    problems = []
    for each in (facts.job for facts in earlier if facts.job is not None):
        name = each.output.claim_name
        if modes.get(name, stores.claims.get(f"{job.namespace}/{name}")) is None:
            there = f"there is no PersistentVolumeClaim {name} in namespace {job.namespace}"
            words = f"{each.spec_field}: {there}, which the job {each.name} wrote to; restore it and the job starts by itself"
            problems.append(Missing(words, watched=each in (job.status.earlier_jobs or [])))
    return problems


async def _keys_of_config_maps(job: Job, recent: Recent) -> dict[str, list[str] | None]:
    """Return the keys of each ConfigMap that the spec names, None for one that does not exist; each is read once."""
    wanted = defaultdict[str, set[str]](set)
    for reference in references(job.valid_spec):
        if reference.config_map is not None:
            wanted[reference.config_map.name].add(reference.config_map.key)
    return {name: await recent.keys(job.namespace, name, keys) for name, keys in sorted(wanted.items())}


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
