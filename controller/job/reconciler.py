"""Reconciles one job: observe, plan, act, report, in this order and each once.

controller.job.actions carries out what was decided. The status is written at most once, also after an error, and only over
the version that the decision was based on, so that a stale cache cannot decide anything.
Tests: tests/controller/job/test_reconciler.py, tests/controller/job/test_fencing.py.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, NoReturn, Protocol

from controller.job.accounts import Accounts
from controller.job.actions import Actions, Client, TakenError
from controller.job.beginnings import Beginnings
from controller.job.earlier import base_of
from controller.job.facts import Job, Observed
from controller.job.hindrance import CreationError
from controller.job.limits import Limits, refusals
from controller.job.objects.metadata import TrainerSettings
from controller.job.observe import observe
from controller.job.parsing import StatusUnreadableError, is_managed_elsewhere, job_from, status_from
from controller.job.plan import plan
from controller.job.recent import Recent
from controller.job.refusals import Refusals
from controller.job.report import event_type, merge_patch, transitions
from controller.job.restores import Restores
from controller.job.retries import Retries
from controller.job.setbacks import after_failure, unobserved
from controller.job.situation import CreateAttempt, Plan, RestoreSupports
from controller.job.supports import stuck
from controller.jobdefaults import JobDefaults
from controller.kinds import FINE_TUNE_JOBS
from controller.runtime.errors import KubeError, NotFound, NotLeading, TerminalError, WaitingError
from controller.runtime.resources import CONFIG_MAPS, KubeObject, object_key
from controller.runtime.rights import rights
from controller.stores import OWNER_INDEX, Stores
from finetune.api.attempts import attempt_name
from finetune.api.conditions import Reason, get_condition, set_condition
from finetune.api.status import ConditionType, FineTuneJobStatus

logger = logging.getLogger(__name__)

RIGHTS = (*rights(FINE_TUNE_JOBS, "patch", subresource="status"), *rights(CONFIG_MAPS, "patch"))
UNREADABLE_POLL_SECONDS = 600.0
"""Only another version of this program, or an edit of the status, can fix it; an edit is seen at once."""
STUCK_POLL_SECONDS = 60.0
"""A policy or a webhook refuses, and no watch reports when it stops refusing."""


class Settings(TrainerSettings, Protocol):
    """The operator's settings that concern jobs."""

    def limits_in(self, namespace: str) -> Limits:
        """Return what the jobs of a namespace may ask for."""

    def defaults_in(self, namespace: str) -> JobDefaults:
        """Return what the jobs of a namespace get where they say nothing of it."""

    @property
    def driver_policy(self) -> str | None:
        """Name of the admission policy that limits drivers to their own progress; None where there is none."""


class Recorder(Protocol):
    """Publishes events."""

    async def record(self, regarding: KubeObject, type_: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Publish one event; never raises."""


@dataclass(frozen=True)
class Acted:
    """What came of a decision: the status to write, after how many seconds to look again, and what failed.

    `held`: a creation was refused; `look_again` includes when it is tried again.
    """

    status: FineTuneJobStatus
    look_again: float | None = None
    held: bool = False
    failure: KubeError | None = None


class Reconciler:
    """Reconciles jobs by key; remembers when to try again what was refused, and for moments what it has just done or read."""

    def __init__(
        self,
        stores: Stores,
        client: Client,
        settings: Settings,
        recorder: Recorder,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        count_refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._stores, self._client, self._settings, self._recorder, self._clock = stores, client, settings, recorder, clock
        self._actions = Actions(client, settings, Accounts(stores, client, settings.driver_policy, monotonic))
        self._retries, self._restores = Retries(stores, client, monotonic), Restores(self._actions, monotonic)
        self._beginnings, self._recent = Beginnings(monotonic), Recent(client, monotonic)
        self._refusals = Refusals(count_refused)

    async def reconcile(self, key: str) -> float | None:
        """Reconcile the job `namespace/name` once; return after how many seconds to do so again at the latest."""
        item = self._stores.jobs.get(key)
        if item is None:
            self._forget(key)
        elif is_managed_elsewhere(item):
            self._stores.fallen.forget(key)
            return None
        stuck_again = await self._release_stuck(key)
        try:
            try:
                again = await self._advance(key)
            except TakenError:
                self._beginnings.forget(key)
                again = await self._advance(key)
        except StatusUnreadableError as error:
            again = await self._report_unreadable(key, error)
        return _soonest(stuck_again, again)

    async def _advance(self, key: str) -> float | None:
        """Observe and plan, whatever the job waits for; only the creation of its attempt may have to wait.

        While the job cannot be observed no policy is asked: what is due then waits until a retry succeeds, and retries may be
        MAX_DELAY_SECONDS (controller.runtime.workqueue) apart.
        """
        awaited = self._beginnings.awaited_seconds(key, self._stores.ray_jobs)
        if awaited is not None:
            return awaited
        waits = self._retries.waits(key)
        observed = await self._observe(key, put_off=waits)
        if observed is None:
            return None
        decision = plan(observed, self._now())
        if not waits:
            return await self._follow(key, observed, decision)
        if not decision.creates:
            return await self._follow(key, observed, decision, waits=True)
        with _due_within(decision.due_within):
            held = await self._retries.look(key, observed.job, decision.status, self._now())
        if held is not None:
            return _soonest(held.seconds, await self._follow(key, observed, decision.held_back(held.status), waits=True))
        # It may be tried: what a creation is based on is asked of the API server.
        with _due_within(decision.due_within):
            observed = await self._observe(key)
        return None if observed is None else await self._follow(key, observed, plan(observed, self._now()))

    async def _observe(self, key: str, *, put_off: bool = False) -> Observed | None:
        """Return what is known about the job; report what cannot be read, unless a retry alone will fix it."""
        try:
            observed = await observe(
                key,
                self._stores,
                self._client,
                self._recent,
                gpu_claim_template=self._settings.gpu_claim_template,
                put_off=put_off,
                has_no_past=self._has_no_past(key),
            )
        except KubeError as error:
            item = self._stores.jobs.get(key)
            if item is not None:
                job = job_from(item)
                await self._report(key, job, unobserved(job, error, self._now()))
            _raise_for_the_queue(error)
        if observed is None or observed.job.spec is None:
            return observed
        job, limits = observed.job, self._settings.limits_in(observed.job.namespace)
        base = base_of(job, lambda name: self._stores.jobs.get(f"{job.namespace}/{name}"))
        defaults = self._settings.defaults_in(job.namespace)
        return replace(observed, refused=refusals(observed.job.spec, limits, base), defaults=defaults)

    async def _follow(self, key: str, observed: Observed, decision: Plan, *, waits: bool = False) -> float | None:
        """Act on a decision and report it; return after how many seconds to look again at the latest.

        `waits`: a creation that was refused is put off further. Raises what failed, for the queue to try again.
        """
        self._refusals.take(key, (*observed.strays, *decision.refused))
        if not any(isinstance(action, RestoreSupports) for action in decision.actions):
            self._restores.forget(key)
        with _due_within(decision.due_within):
            known = self._has_no_past(key)
            if decision.actions and not known and not await self._actions.is_there(observed.job):
                return None
            acted = await self._act(key, observed, decision)
            await self._report(key, observed.job, acted.status)
            self._stores.fallen.forget(key, observed.fallen)
            running = get_condition(acted.status, ConditionType.RUNNING)
            unsafe = running is not None and running.reason == Reason.KUBERAY_UNSAFE
            # What was created only to be deleted is no success: once it is gone, the pause before the next try is as long as before.
            if not (waits or acted.held or unsafe):
                self._retries.forget(key)
            if acted.failure is not None:
                _raise_for_the_queue(acted.failure)
        return acted.look_again

    async def _act(self, key: str, observed: Observed, decision: Plan) -> Acted:
        """Carry out the actions of a decision in order; the first that fails ends it, and the status says why."""
        status, look_again = decision.status, decision.requeue_after
        for action in decision.actions:
            try:
                if isinstance(action, RestoreSupports):
                    status, seconds = await self._restores.restore(key, observed.job, status, action, self._now())
                    look_again = _soonest(look_again, seconds)
                else:
                    await self._actions.carry_out(observed, action, has_no_past=self._has_no_past(key))
                    if isinstance(action, CreateAttempt):
                        self._beginnings.created(key, f"{observed.job.namespace}/{attempt_name(observed.job.name, action.number)}")
            except CreationError as error:
                held = self._retries.put_off(key, observed.job, status, error, self._now())
                return Acted(held.status, _soonest(look_again, held.seconds), held=True)
            except KubeError as error:
                return Acted(after_failure(observed.job, status, action, error, self._now()), failure=error)
        return Acted(status, look_again)

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

    def _forget(self, key: str) -> None:
        """Forget a job that is gone; the other memories see for themselves that it is."""
        for memory in (self._refusals, self._restores, self._stores.fallen):
            memory.forget(key)

    def _has_no_past(self, key: str) -> bool:
        """Return whether the job, as it is in the cache, was begun by this process a moment ago."""
        item = self._stores.jobs.get(key)
        metadata = item["metadata"] if item is not None else {}
        return self._beginnings.has_no_past(key, metadata.get("uid", ""), metadata.get("resourceVersion", ""))

    def _now(self) -> datetime:
        return self._clock().replace(microsecond=0)

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
            stored = await self._client.patch_status(
                FINE_TUNE_JOBS, metadata["name"], metadata["namespace"], patch, resource_version=version
            )
        except NotFound:
            return
        self._beginnings.begun(object_key(item), item, stored, self._now())
        for condition in transitions(before, after):
            await self._recorder.record(item, event_type(condition), condition.reason, f"{condition.type}: {condition.message}")


@contextmanager
def _due_within(seconds: float | None) -> Iterator[None]:
    """Let errors say after how many seconds something else is due, however long their retries are put off."""
    try:
        yield
    except KubeError as error:
        error.again_within_seconds = seconds
        raise


def _raise_for_the_queue(error: KubeError) -> NoReturn:
    """Raise an error as one that is tried again: a policy or a webhook refuses, and no watch reports when it stops refusing."""
    if isinstance(error, TerminalError):
        raise WaitingError(str(error)) from error
    raise error


def _soonest(*seconds: float | None) -> float | None:
    return min((each for each in seconds if each is not None), default=None)
