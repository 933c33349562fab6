"""Carries out in the cluster what was decided about a job: creates, releases and deletes its objects.

Objects are created once and not changed. Nothing is read to decide whether to write: a creation is judged by what comes back,
a deletion names the UID that was observed. Three things are read all the same. The job, once before the first action, because
the decision may rest on a stale cache (not where this process has just written the job itself). An object whose name is taken,
because "already exists" is success if it is the job's.
An object that a quota or a policy refuses, because both are checked before the name is, and it may exist already.
A RayJob is compared as it was stored, whoever created it, because its safety depends on every field having been kept.
Tests: tests/controller/job/test_actions.py, tests/controller/job/test_unsafe_ray_jobs.py.
"""

from contextlib import suppress
from typing import Protocol, assert_never

from controller.job.accounts import Accounts
from controller.job.defaults import with_defaults
from controller.job.facts import Job, Observed
from controller.job.hindrance import CreationError, Kind, kind_of
from controller.job.names import progress_name
from controller.job.objects import safety
from controller.job.objects.attempt import KINDS, Object, objects_of, shared_objects, supporting
from controller.job.objects.configmap import fits_inside, progress_config_map
from controller.job.objects.form import Form
from controller.job.objects.metadata import TrainerSettings
from controller.job.parsing import belongs_to
from controller.job.situation import AskToStop, CreateAttempt, Delete, ReleaseProgress, RestoreSupports
from controller.job.supports import Reader
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.errors import AlreadyExists, Conflict, Invalid, KubeError, NotFound
from controller.runtime.resources import CONFIG_MAPS, KubeObject, Resource
from controller.runtime.rights import rights
from finetune.api.record import STOP_ANNOTATION

RIGHTS = (
    *rights(FINE_TUNE_JOBS, "get"),
    *(right for kind in KINDS for right in rights(kind, "get", "create")),
    *rights(RAY_JOBS, "delete"),
    *rights(CONFIG_MAPS, "patch"),
)
"""What a policy deletes is declared beside the policy."""
UID_MISMATCH = "metadata.uid"
"""The field that the API server calls invalid when a patch is meant for another object of the same name."""


class Client(Reader, Protocol):
    """What the reconciler needs of the client."""

    async def create(self, resource: Resource, item: KubeObject, *, dry_run: bool = False, strict: bool = False) -> KubeObject:
        """Create an object, or check with a dry run whether it could be; raise AlreadyExists, or Invalid for unknown fields."""

    async def patch(self, resource: Resource, name: str, namespace: str | None, patch: KubeObject) -> KubeObject:
        """Merge into an object; raise NotFound."""

    async def delete(self, resource: Resource, name: str, namespace: str | None = None, *, uid: str | None = None) -> None:
        """Delete an object with this UID; raise NotFound."""

    async def patch_status(
        self, resource: Resource, name: str, namespace: str, status: KubeObject, *, resource_version: str | None = None
    ) -> KubeObject:
        """Merge into the status; raise Conflict if the object is not at this version."""


class TakenError(Exception):
    """An object that was to be the first of its name exists already: its job has a past."""


class Actions:
    """Carries out actions one by one; raises CreationError when a creation is refused, and KubeError for the rest."""

    def __init__(self, client: Client, settings: TrainerSettings, accounts: Accounts | None = None) -> None:
        self._client, self._settings, self._accounts = client, settings, accounts

    async def is_there(self, job: Job) -> bool:
        """Return whether the job still exists; raise Conflict if it has changed since the decision was made.

        A stale cache may not have the attempt that runs: it would be deleted as a leftover, or an older one started beside it.
        """
        try:
            metadata = (await self._client.get(FINE_TUNE_JOBS, job.name, job.namespace, metadata_only=True))["metadata"]
        except NotFound:
            return False
        if (metadata["uid"], metadata["resourceVersion"]) != (job.uid, job.resource_version):
            raise Conflict(f"{job.namespace}/{job.name} has changed since version {job.resource_version}, on which the decision was based")
        return True

    async def carry_out(
        self, observed: Observed, action: CreateAttempt | ReleaseProgress | AskToStop | Delete, *, has_no_past: bool = False
    ) -> None:
        """Carry out one action; if it creates several objects, it stops at the first that is refused. See `restore` for the rest.

        `has_no_past`: raise TakenError at the first object to create that exists already.
        """
        job = observed.job
        match action:
            case CreateAttempt(number):
                form = await self._form(job, number)
                built = with_defaults(job, observed.defaults)
                for each in objects_of(built, number, self._settings, observed.access_modes, form):
                    await self._create(job, each, has_no_past=has_no_past)
            case ReleaseProgress(name, number, uid):
                await self._release(job, name, number, uid)
            case AskToStop(number, cluster):
                await self._ask_to_stop(job, number, cluster)
            case Delete(resource, name, uid):
                await self._delete(job, resource, name, uid)
            case _:
                assert_never(action)

    async def restore(self, job: Job, action: RestoreSupports) -> list[CreationError]:
        """Create again what an attempt has lost; return what was refused, which does not keep the others from being created."""
        refused: list[CreationError] = []
        for each in [*supporting(job, action.number), *shared_objects(job.namespace)]:
            if (each.resource.kind, each.name) in action.lost:
                try:
                    await self._create(job, each)
                except CreationError as error:
                    refused.append(error)
        return refused

    async def _form(self, job: Job, number: int) -> Form:
        """Return the form of an attempt that is created now; where heads share an account, it is there afterwards."""
        if self._accounts is None or not await self._accounts.shared():
            return Form()
        await self._accounts.complete(job.namespace, lambda each: self._create(job, each))
        return Form(config_inside=fits_inside(job, number), shared_account=True)

    async def _create(self, job: Job, each: Object, *, has_no_past: bool = False) -> None:
        resource, item, name = each.resource, each.item, each.name
        try:
            stored, made = await self._client.create(resource, item, strict=resource == RAY_JOBS), True
        except AlreadyExists as error:
            if each.shared:
                return
            if has_no_past:
                raise TakenError from error
            try:
                stored, made = await self._client.get(resource, name, job.namespace, metadata_only=resource != RAY_JOBS), False
            except NotFound:
                raise Conflict(f"{resource.kind} {name} existed and was deleted while it was being read") from error
            words = _not_ours(stored, job, f"{resource.kind} {name}")
            if words:
                raise CreationError(resource, item, words, Kind.NAME_TAKEN, stored["metadata"]["uid"]) from error
        except KubeError as error:
            refused, kind = safety.fields_refused(str(error)), kind_of(error)
            if kind is None:
                raise
            if resource == RAY_JOBS and refused:
                raise CreationError(resource, item, safety.words(refused), Kind.UNSAFE) from error
            if kind in (Kind.QUOTA, Kind.REFUSED) and resource != RAY_JOBS and await self._is_there_already(job, each):
                return
            raise CreationError(resource, item, str(error), kind) from error
        # One that was there already may be of another form, which is no less safe.
        if resource == RAY_JOBS and (lost := safety.fields_lost(item, stored) if made else safety.fields_unsafe(stored)):
            # At once: within seconds KubeRay has a pod that would answer without a token. If this fails, the next pass sees it.
            await self._delete(job, resource, name, stored["metadata"]["uid"])
            raise CreationError(resource, item, safety.words(lost), Kind.UNSAFE)

    async def _is_there_already(self, job: Job, each: Object) -> bool:
        """Return whether the refused object exists already: quotas and policies are checked before the name is."""
        try:
            present = await self._client.get(each.resource, each.name, job.namespace, metadata_only=True)
        except NotFound:
            return False
        return each.shared or not _not_ours(present, job, each.name)

    async def _release(self, job: Job, name: str, number: int, uid: str) -> None:
        wanted = progress_config_map(job, number)["metadata"]
        metadata = {"uid": uid, "finalizers": None, "ownerReferences": wanted["ownerReferences"], "labels": wanted["labels"]}
        try:
            await self._client.patch(CONFIG_MAPS, name, job.namespace, {"metadata": metadata})
        except NotFound:
            return
        except Invalid as error:
            if UID_MISMATCH in str(error):
                raise Conflict(f"ConfigMap {name} is not the one that was observed") from error
            raise

    async def _ask_to_stop(self, job: Job, number: int, cluster: str) -> None:
        """Ask; the trainer that makes the object anew, when it is lost, is asked in the pass after it."""
        name = progress_name(job.name, job.uid, number)  # nobody else's: the job's UID is in it
        with suppress(NotFound):
            await self._client.patch(CONFIG_MAPS, name, job.namespace, {"metadata": {"annotations": {STOP_ANNOTATION: cluster}}})

    async def _delete(self, job: Job, resource: Resource, name: str, uid: str) -> None:
        """Delete the object with this UID; another one of the same name is left alone, and Conflict is raised.

        Whose it is was decided when it was observed: owner references that change afterwards, on the same object, do not stop
        the deletion. A resourceVersion would: but KubeRay writes a RayJob's status often, and a cache that lags behind could
        then delete nothing of what holds the GPUs, for as long as it lags.
        """
        try:
            await self._client.delete(resource, name, job.namespace, uid=uid)
        except NotFound:
            return


def _not_ours(present: KubeObject, job: Job, named: str) -> str:
    """Return why an existing object cannot be used; empty if it is the job's and is not being deleted."""
    if not belongs_to(present, job):
        return f"{named} exists and is not this job's; a deleted job of the same name may have left it"
    return f"{named} is still being deleted" if present["metadata"].get("deletionTimestamp") else ""
