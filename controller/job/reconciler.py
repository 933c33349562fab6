"""Reconciles one job: observe, plan, act, report, in this order and each once.

controller.job.actions carries out what was decided. The status is written at most once, also after an error, and only over
the version that the decision was based on, so that a stale cache cannot decide anything.
Tests: tests/controller/job/test_reconciler.py, tests/controller/job/test_fencing.py.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, Protocol

from controller.job.actions import Actions, Client
from controller.job.facts import Job, Observed
from controller.job.hindrance import CreationError, Hindrance, Hindrances
from controller.job.limits import Limits, refusals
from controller.job.objects.metadata import TrainerSettings
from controller.job.observe import observe
from controller.job.parsing import StatusUnreadableError, fields_unsafe_in, is_owned_by, status_from
from controller.job.plan import plan
from controller.job.report import event_type, merge_patch, transitions
from controller.job.retries import TIMER_SECONDS, Retries
from controller.job.situation import Action, CreateAttempt, Delete, Plan, ReleaseProgress, RestoreSupports
from controller.job.supports import stuck
from controller.job.upkeep import not_restored, restored
from controller.kinds import FINE_TUNE_JOBS
from controller.runtime.errors import (
    KubeError,
    NotFound,
    NotLeading,
    RetryableError,
    TerminalError,
    WaitingError,
)
from controller.runtime.resources import CONFIG_MAPS, KubeObject
from controller.runtime.rights import rights
from controller.stores import OWNER_INDEX, Stores
from finetune.api.conditions import Reason, get_condition, is_true, set_condition, summarize
from finetune.api.status import ConditionType, FineTuneJobStatus

logger = logging.getLogger(__name__)

RIGHTS = (*rights(FINE_TUNE_JOBS, "patch", subresource="status"), *rights(CONFIG_MAPS, "patch"))
UNREADABLE_POLL_SECONDS = 600.0
"""Only another version of this program, or an edit of the status, can fix it; an edit is seen at once."""
STUCK_POLL_SECONDS = 60.0
"""A policy or a webhook refuses, and no watch reports when it stops refusing."""


class Settings(TrainerSettings, Limits, Protocol):
    """The operator's settings that concern jobs."""


class Recorder(Protocol):
    """Publishes events."""

    async def record(self, regarding: KubeObject, type_: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Publish one event; never raises."""


@dataclass(frozen=True)
class Acted:
    """What came of a decision: the status to write, after how many seconds to look again, and what failed.

    `held`: a creation was refused, and is tried again after `look_again`.
    """

    status: FineTuneJobStatus
    look_again: float | None = None
    held: bool = False
    failure: KubeError | None = None


class Reconciler:
    """Reconciles jobs by key; remembers nothing but when to try again what was refused."""

    def __init__(
        self,
        stores: Stores,
        client: Client,
        settings: Settings,
        recorder: Recorder,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stores, self._client, self._settings, self._recorder, self._clock = stores, client, settings, recorder, clock
        self._actions = Actions(client, settings)
        self._retries, self._restores = Retries(stores, client, monotonic), Hindrances(monotonic)

    async def reconcile(self, key: str) -> float | None:
        """Reconcile the job `namespace/name` once; return after how many seconds to do so again at the latest."""
        due = (await self._release_stuck(key), await self._advance(key))
        return _soonest(*due)

    async def _advance(self, key: str) -> float | None:
        # An unsafe RayJob that runs is dealt with at once, whatever the job waits for.
        held = None if self._runs_unsafe(key) else await self._retries.look(key, self._now())
        if held is not None:
            await self._report(key, held.job, held.status)
            return held.seconds
        try:
            observed = await observe(key, self._stores, self._client)
        except StatusUnreadableError as error:
            return await self._report_unreadable(key, error)
        if observed is None:
            return None
        if observed.job.spec is not None:
            observed = replace(observed, refused=refusals(observed.job.spec, self._settings))
        decision = plan(observed, self._now())
        for note in decision.notes:
            logger.warning("%s: %s", key, note)
        if not any(isinstance(action, RestoreSupports) for action in decision.actions):
            self._restores.forget(key)
        if decision.actions and not await self._actions.is_there(observed.job):
            return None
        acted = await self._act(key, observed, decision)
        await self._report(key, observed.job, acted.status)
        return self._look_again(key, acted)

    async def _act(self, key: str, observed: Observed, decision: Plan) -> Acted:
        """Carry out the actions of a decision in order; the first that fails ends it, and the status says why."""
        status, look_again = decision.status, decision.requeue_after
        for action in decision.actions:
            try:
                if isinstance(action, RestoreSupports):
                    # The attempt runs: what only its reports need must not stop anything else.
                    status, seconds = await self._restore(key, observed.job, status, action)
                    look_again = _soonest(look_again, seconds)
                else:
                    await self._actions.carry_out(observed, action)
            except CreationError as error:
                held = self._retries.put_off(key, observed.job, status, error, self._now())
                return Acted(held.status, held.seconds, held=True)
            except KubeError as error:
                return Acted(self._with_failure(observed, status, action, error), failure=error)
        return Acted(status, look_again)

    def _look_again(self, key: str, acted: Acted) -> float | None:
        """Return after how many seconds to reconcile again at the latest; raise what failed, for the queue to try again."""
        if acted.held:
            return acted.look_again
        running = get_condition(acted.status, ConditionType.RUNNING)
        if running is None or running.reason != Reason.KUBERAY_UNSAFE:
            # What was created only to be deleted is no success: once it is gone, the pause before the next try is as long as before.
            self._retries.forget(key)
        if isinstance(acted.failure, TerminalError):
            # A policy or a webhook refuses, and no watch reports when it stops refusing.
            raise WaitingError(str(acted.failure)) from acted.failure
        if acted.failure is not None:
            raise acted.failure
        return acted.look_again

    async def _release_stuck(self, key: str) -> float | None:
        """Remove the finalizers that a trainer put on progress ConfigMaps that are being deleted, also if their job is gone.

        Returns after how many seconds to try again, None if nothing was refused.
        """
        namespace, _, name = key.rpartition("/")
        again = None
        for stuck_name, uid in stuck(name, self._stores.progress.by_index(OWNER_INDEX, key)):
            try:
                await self._client.patch(CONFIG_MAPS, stuck_name, namespace, {"metadata": {"uid": uid, "finalizers": None}})
            except NotFound:
                continue
            except NotLeading:
                raise
            except KubeError as error:
                # It mostly belongs to an earlier job, and the present one must not wait for it.
                logger.warning("%s: ConfigMap %s still has its finalizer: %s", key, stuck_name, error)
                again = STUCK_POLL_SECONDS
        return again

    def _now(self) -> datetime:
        return self._clock().replace(microsecond=0)

    def _runs_unsafe(self, key: str) -> bool:
        """Return whether, by the cache, a RayJob of the job lacks what its safety depends on."""
        item, ray_jobs = self._stores.jobs.get(key), self._stores.ray_jobs.by_index(OWNER_INDEX, key)
        unsafe = [ray_job for ray_job in ray_jobs if fields_unsafe_in(ray_job) and not ray_job["metadata"].get("deletionTimestamp")]
        return item is not None and any(is_owned_by(ray_job, item["metadata"]["uid"]) for ray_job in unsafe)

    async def _restore(
        self, key: str, job: Job, status: FineTuneJobStatus, action: RestoreSupports
    ) -> tuple[FineTuneJobStatus, float | None]:
        """Create again what a running attempt has lost; return the status that reports it, and when to try again what was refused."""
        before = self._restores.get(key)
        if before is not None and before.job[0] == job.uid and (seconds := self._restores.remaining_seconds(before)) > TIMER_SECONDS:
            return status, seconds
        refused = await self._actions.restore(job, action)
        generation, now = job.generation, self._now()
        if not refused:
            self._restores.forget(key)
            words = restored(action.lost)
            status = set_condition(status, ConditionType.REPORTING, "True", Reason.SUPPORTS_RESTORED, words, generation=generation, now=now)
            return status, None
        first, missing = refused[0], [(error.resource.kind, error.item["metadata"]["name"]) for error in refused]
        hindrance = Hindrance(first.kind, first.resource, first.item, str(first), (job.uid, generation))
        hindrance = self._restores.put_off(key, hindrance)
        if hindrance.reported:
            words, reason = not_restored(missing, hindrance.words), Reason.CREATION_FAILED
            status = set_condition(status, ConditionType.REPORTING, "False", reason, words, generation=generation, now=now)
        return status, self._restores.remaining_seconds(hindrance)

    def _with_failure(self, observed: Observed, status: FineTuneJobStatus, action: Action, error: Exception) -> FineTuneJobStatus:
        """Return the status with the error, unless a retry alone will fix it."""
        if isinstance(error, RetryableError):
            return status
        generation, now = observed.job.generation, self._now()
        if isinstance(action, RestoreSupports | ReleaseProgress):
            status = set_condition(
                status, ConditionType.REPORTING, "False", Reason.CREATION_FAILED, str(error), generation=generation, now=now
            )
            return summarize(status, generation=generation, now=now)
        running = get_condition(status, ConditionType.RUNNING)
        if isinstance(action, Delete) and running is not None and running.reason == Reason.KUBERAY_UNSAFE:
            words = f"{running.message}; it is still running because it could not be deleted: {error}"
            failed = set_condition(status, ConditionType.RUNNING, "False", running.reason, words, generation=generation, now=now)
            return summarize(failed, generation=generation, now=now)
        creates = isinstance(action, CreateAttempt)
        reason = Reason.CREATION_FAILED if creates else Reason.DELETION_FAILED
        value: Literal["True", "False"] = "True" if not creates and is_true(status, ConditionType.RUNNING) else "False"
        failed = set_condition(status, ConditionType.RUNNING, value, reason, str(error), generation=generation, now=now)
        return summarize(failed, generation=generation, now=now)

    async def _report(self, key: str, job: Job, status: FineTuneJobStatus) -> None:
        item = self._stores.jobs.get(key)
        if item is None:
            return
        patch = merge_patch(item.get("status") or {}, status.to_wire())
        if patch:
            await self._write(item, job.resource_version, patch, job.status, status)

    async def _report_unreadable(self, key: str, problem: StatusUnreadableError) -> float:
        """Say in the job's conditions that its status cannot be read, and change nothing else."""
        item = self._stores.jobs.get(key)
        if item is None:
            return UNREADABLE_POLL_SECONDS
        metadata, wire = item["metadata"], (item.get("status") or {}).get("conditions")
        before = status_from({"conditions": wire})
        message = f"{problem}; another version of the controller wrote it; let that version finish the job, or create a new job"
        generation, now = metadata.get("generation", 1), self._now()
        after = set_condition(before, ConditionType.ACCEPTED, "False", Reason.STATUS_UNREADABLE, message, generation=generation, now=now)
        patch = {"conditions": after.to_wire()["conditions"]}
        if patch["conditions"] != wire:
            await self._write(item, metadata["resourceVersion"], patch, before, after)
        return UNREADABLE_POLL_SECONDS

    async def _write(self, item: KubeObject, version: str, patch: KubeObject, before: FineTuneJobStatus, after: FineTuneJobStatus) -> None:
        """Write the status of a job that is still at `version`, then publish events for its transitions; skip a job that is gone."""
        metadata = item["metadata"]
        try:
            await self._client.patch_status(FINE_TUNE_JOBS, metadata["name"], metadata["namespace"], patch, resource_version=version)
        except NotFound:
            return
        for condition in transitions(before, after):
            await self._recorder.record(item, event_type(condition), condition.reason, f"{condition.type}: {condition.message}")


def _soonest(*seconds: float | None) -> float | None:
    return min((each for each in seconds if each is not None), default=None)
