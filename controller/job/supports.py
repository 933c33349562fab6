"""The state of the small objects that an attempt needs beside its RayJob: its configuration, its progress and its rights.

Somebody may delete them or change their labels, and the trainer may do what it likes with its progress ConfigMap: this is
reported, and nothing waits for it. Reads only. Test: tests/controller/job/test_supports.py.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol

from controller.job import names
from controller.job.facts import Job, RayJobFacts, Supports
from controller.job.failures import ray_job_state
from controller.job.history import ProgressFacts
from controller.job.names import UID_LABEL
from controller.job.objects.attempt import SUPPORTS, supports
from controller.job.objects.form import Form
from controller.job.parsing import belongs_to, has_label_of
from controller.job.refusals import ENDED_ATTEMPT, OTHER_JOB, Refused
from controller.kinds import JOB_LABEL
from controller.runtime.client import ListPage
from controller.runtime.errors import NotFound
from controller.runtime.resources import CONFIG_MAPS, KubeObject, Resource
from controller.runtime.rights import rights
from controller.runtime.store import StoreState
from controller.stores import Stores
from finetune.api.attempts import unfinished
from finetune.api.record import RECORD_KEY

RIGHTS = tuple(right for support in SUPPORTS for right in rights(support.resource, "get"))


class Reader(Protocol):
    """What observing needs of the client."""

    async def get(self, resource: Resource, name: str, namespace: str | None = None, *, metadata_only: bool = False) -> KubeObject:
        """Return an object; raise NotFound."""

    async def takes_new(self, resource: Resource) -> bool:
        """Return whether the API server takes new objects of this kind."""

    async def list_all(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str | None = None, metadata_only: bool = False
    ) -> ListPage:
        """Return all objects with these labels."""


async def supports_of(job: Job, attempt: int, report: KubeObject | None, stores: Stores, reader: Reader, form: Form = Form()) -> Supports:
    """Return what a running attempt is missing, and what was done to its progress ConfigMap `report`.

    What a cache does not have is read from the server: the cache may lag, and an object that has lost its label is in none.
    """
    lost, foreign, watched = [], [], report is None or _is_watched(report)
    for support in supports(form):
        resource, name = support.resource, support.name(job, attempt)
        cache = stores.cache_of(resource)
        item = cache.get(f"{job.namespace}/{name}") if cache.state_in(job.namespace) is StoreState.SYNCED else None
        if report is not None and name == report["metadata"]["name"]:
            continue
        if item is None or not (support.shared or belongs_to(item, job)):
            try:
                item = await reader.get(resource, name, job.namespace, metadata_only=True)
            except NotFound:
                lost.append((resource.kind, name))
                continue
        watched = watched and _is_watched(item)
        if not (support.shared or belongs_to(item, job)):
            foreign.append((resource.kind, name))
    immutable = report is not None and bool(report.get("immutable"))
    return Supports(tuple(lost), tuple(foreign), "" if report is None else alterations(report, job), not immutable, watched)


def _is_watched(item: KubeObject) -> bool:
    return JOB_LABEL in (item["metadata"].get("labels") or {})


async def progress_of(job: Job, current: RayJobFacts | None, stores: Stores, reader: Reader) -> KubeObject | None:
    """Return the progress ConfigMap of the newest attempt, if the attempt runs, has just ended, or never had a report taken.

    At the end it is read from the server, because the last report decides about retries; the record outlives a RayJob that was
    cleaned up before its end was seen. `current` is the attempt's RayJob.
    """
    attempt, attempts = unfinished(job.status), job.status.attempts
    if not attempts or (attempt is None and job.status.report_cursor is not None and not job.deleting):
        return None
    if attempt is not None and current is None and attempt.start_time is None:
        return None
    name = names.progress_name(job.name, job.uid, attempts[-1].number)
    item = _ours(stores.progress.get(f"{job.namespace}/{name}"), job)
    ends = attempt is not None and (current is None or ray_job_state(current).final) and '"outcome"' not in (record_in(item) or "")
    # One that has lost its label is in no cache, and may block the deletion of its job. A driver that creates its own cannot do that.
    to_come = current is not None and current.form.config_inside and stores.progress.state_in(job.namespace) is StoreState.SYNCED
    if ends or (item is None and ((attempt is not None and not to_come) or job.deleting)):
        try:
            item = _ours(await reader.get(CONFIG_MAPS, name, job.namespace), job)
        except NotFound:
            return item
    return item


def _ours(item: KubeObject | None, job: Job) -> KubeObject | None:
    return item if item is not None and is_progress_of(item, job) else None


def is_progress_of(item: KubeObject, job: Job) -> bool:
    """Return whether a ConfigMap is a progress ConfigMap of this job: the job's UID is in its name, and nobody else owns it."""
    metadata = item["metadata"]
    ours = belongs_to(item, job) or not metadata.get("ownerReferences")
    return ours and names.attempt_of_progress(metadata["name"], job.name, job.uid) is not None


def strays(job: Job, items: Iterable[KubeObject]) -> tuple[Refused, ...]:
    """Return the reports among ConfigMaps that name the job which nobody reads: of attempts that have ended, while another one goes on,
    and of objects that are not this job's, such as an older job's of the same name."""
    attempt = unfinished(job.status)
    found = []
    for item in items:
        text, name = record_in(item), item["metadata"]["name"]
        number = names.attempt_of_progress(name, job.name, job.uid) if is_progress_of(item, job) else None
        if text and number is None:
            found.append(Refused(OTHER_JOB, name, "the report is in an object that is not this job's", hash(text)))
        elif text and number is not None and attempt is not None and number < attempt.number:
            words = f"the report is of attempt {number}, which has ended; attempt {attempt.number} runs"
            found.append(Refused(ENDED_ATTEMPT, name, words, hash(text), late=True))
    return tuple(found)


def record_in(item: KubeObject | None) -> str | None:
    """Return the trainer's record in a progress ConfigMap."""
    text = ((item or {}).get("data") or {}).get(RECORD_KEY)
    return text if isinstance(text, str) else None


def report_from(item: KubeObject, job: Job) -> ProgressFacts:
    """Read a progress ConfigMap of the job."""
    metadata = item["metadata"]
    created = metadata.get("creationTimestamp")
    return ProgressFacts(
        attempt=names.attempt_of_progress(metadata["name"], job.name, job.uid) or 0,
        created=datetime.fromisoformat(created) if created else datetime.fromtimestamp(0, UTC),
        record=record_in(item),
    )


def alterations(item: KubeObject, job: Job) -> str:
    """Return what somebody has changed about a progress ConfigMap, as words for a message; empty if nothing."""
    metadata = item["metadata"]
    named = (metadata.get("labels") or {}).get(JOB_LABEL)
    changed = [
        "was made immutable" if item.get("immutable") else "",
        "has a finalizer" if metadata.get("finalizers") else "",
        "has lost its owner" if not metadata.get("ownerReferences") else "",
        "has lost its labels" if not (has_label_of(item, job) and named == job.name) else "",
    ]
    return ", ".join(words for words in changed if words)


def stuck(job_name: str, items: Iterable[KubeObject]) -> list[tuple[str, str]]:
    """Return name and UID of progress ConfigMaps whose deletion a finalizer blocks, of this or an earlier job of the name.

    Nobody else would ever remove the finalizer, and the namespace could not be deleted either.
    """
    return [_identity(item) for item in items if _is_stuck(item["metadata"], job_name)]


def _is_stuck(metadata: KubeObject, job_name: str) -> bool:
    if not (metadata.get("deletionTimestamp") and metadata.get("finalizers")):
        return False
    uids = {reference.get("uid") for reference in metadata.get("ownerReferences") or []} | {(metadata.get("labels") or {}).get(UID_LABEL)}
    return any(uid and names.attempt_of_progress(metadata["name"], job_name, uid) is not None for uid in uids)


def held(job: Job, reports: Iterable[KubeObject]) -> tuple[tuple[str, str], ...]:
    """Return name and UID of the progress ConfigMaps that would outlive the job, or block its deletion."""
    return tuple(
        sorted({_identity(item) for item in reports if item["metadata"].get("finalizers") or not item["metadata"].get("ownerReferences")})
    )


def _identity(item: KubeObject) -> tuple[str, str]:
    return item["metadata"]["name"], item["metadata"]["uid"]
