"""Puts the controller together: caches, queue, workers, leader election and health, from start to SIGTERM.

The only place that knows all of them. Tests: tests/integration/test_runtime_main.py.
"""

import asyncio
import logging
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence

from controller.job.reconciler import Reconciler
from controller.jobmetrics import JobMetrics
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.client import Client
from controller.runtime.connection import ConnectionSettingsError, KubernetesTransport
from controller.runtime.connectivity import OUTAGE_SECONDS, Connectivity, ObservedTransport
from controller.runtime.elector import Elector, FencedTransport, LeaseTimings, clock_with_suspend
from controller.runtime.events import EventRecorder
from controller.runtime.health import HealthServer
from controller.runtime.logs import set_up_logging
from controller.runtime.metrics import Metrics
from controller.runtime.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PODS, Resource
from controller.runtime.store import Store, StoreState
from controller.runtime.transport import Transport
from controller.runtime.workers import Workers
from controller.runtime.workqueue import WorkQueue
from controller.settings import Settings, SettingsError, load_settings
from controller.stores import Stores
from controller.watching import build_reflectors

log = logging.getLogger(__name__)

NAME = "finetune-operator"
"""Field manager, reporter of events, user agent."""
METRICS_PREFIX = "finetune_controller"
ESSENTIAL = (FINE_TUNE_JOBS, RAY_JOBS, PODS, CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS)
"""What every decision needs to know."""
LACKING_POLL_SECONDS = 10.0
"""Where a namespace's own rights are incomplete; that they come is seen by the caches only."""
JOBS_WAIT = "rights are missing; jobs wait until the controller's account has its Role in the namespace, or it is not watched"
DRAIN_SECONDS = 5.0
"""For work in progress at SIGTERM: enough for several requests, and well within the 30 s that a pod has."""


class Controller:
    """One controller process."""

    def __init__(self, settings: Settings, transport: Transport, *, clock: Callable[[], float] = clock_with_suspend) -> None:
        self.settings = settings
        self.metrics = Metrics(METRICS_PREFIX)
        self.job_metrics = JobMetrics(self.metrics.registry, METRICS_PREFIX)
        self.job_metrics.namespaces_without_rights.set_function(lambda: len(self.refused()))
        lease = LeaseTimings(settings.lease_duration_seconds, settings.lease_renew_deadline_seconds, settings.lease_retry_seconds)
        # A request for the lease is given up after a little longer than this, and the last one before it was sent no longer ago.
        self.connectivity = Connectivity(clock, min(max(OUTAGE_SECONDS, 2 * lease.retry), 0.8 * lease.request))
        transport = ObservedTransport(transport, self.connectivity)
        self.stores = Stores()
        self.queue = WorkQueue(clock)
        self.queue.on_add = self.metrics.queue_adds.inc
        self.metrics.follow_queue_depth(lambda: len(self.queue))
        self.elector = Elector(
            Client(transport, field_manager=NAME),
            namespace=settings.election_namespace,
            name=settings.lease_name,
            identity=settings.election_identity,
            timings=lease,
            clock=clock,
        )
        self.metrics.leader.set_function(lambda: float(self.elector.leading()))
        client = Client(FencedTransport(transport, self.elector.leading), field_manager=NAME)
        add, add_after = self.queue.add, self.queue.add_after
        self.reflectors = build_reflectors(self.stores, client, self.metrics, add, add_after, namespaces=settings.watched)
        # No decision is wrong without the others: the controller also works with a role of an older release, which lacks them.
        self._essential = [each for each in self.reflectors if each.resource in ESSENTIAL]
        for each in self.reflectors:
            self.connectivity.on_recovery(each.reconnect)
            self.connectivity.on_doubt(each.reopen)
        self.connectivity.on_recovery(self.queue.hurry)
        recorder = EventRecorder(client, NAME, self.elector.identity)
        self._reconciler = Reconciler(
            self.stores, client, settings, recorder, monotonic=clock, count_refused=self.job_metrics.count_refused_report
        )

    def not_ready(self) -> list[str]:
        """Return which caches are not complete yet. A replica that waits for the lease is ready: it could take over.

        Without KubeRay the jobs still get a status that says so; without the definition of FineTuneJob there is nothing to do.
        """
        problems = [f"{resource}: not listed yet" for resource, store in self._needed() if store.state is StoreState.SYNCING]
        if self.stores.jobs.state is StoreState.ABSENT:
            problems.append(f"{FINE_TUNE_JOBS}: the cluster does not serve it; install the CustomResourceDefinition")
        return problems

    def refused(self) -> dict[str, list[str]]:
        """Return what may not be listed and watched, by namespace; the empty name is for all. Elsewhere the controller works on."""
        found: dict[str, list[str]] = {}
        for each in self.reflectors:
            if each.refused:
                found.setdefault(each.namespace or "", []).append(str(each.resource))
        return dict(sorted(found.items()))

    def remarks(self) -> list[str]:
        """Return what whoever asks for readiness should know, and what is no reason not to be ready."""
        return [f"{_place(namespace)}: no right to list and watch {', '.join(kinds)}" for namespace, kinds in self.refused().items()]

    async def _tell_refusals(self) -> None:
        """Warn once about each namespace whose rights are incomplete: nothing else would show that its jobs wait."""
        told: dict[str, list[str]] = {}
        while True:
            await asyncio.sleep(LACKING_POLL_SECONDS)
            refused = self.refused()
            for namespace, kinds in refused.items():
                if told.get(namespace) != kinds:
                    waiting = any(str(kind) in kinds for kind in ESSENTIAL)
                    message = JOBS_WAIT if waiting else "rights are missing; jobs run, some later than they could"
                    log.warning(message, extra={"namespace": namespace or "all", "verbs": ["list", "watch"], "resources": kinds})
            for namespace in told.keys() - refused.keys():
                log.info("no right is missing any more", extra={"namespace": namespace or "all"})
            told = refused

    def _needed(self) -> list[tuple[Resource, Store]]:
        stores = self.stores
        return list(zip(ESSENTIAL, (stores.jobs, stores.ray_jobs, stores.pods, stores.progress, stores.claims), strict=True))

    async def _reconcile(self, key: str) -> float | None:
        """Reconcile a job once everything in its namespace is known: part of it may not be listed there, or not yet."""
        namespace = key.partition("/")[0]
        lacking = [each for each in self._essential if each.namespace == namespace and each.store.state is StoreState.SYNCING]
        if lacking:
            log.debug("not all of the namespace is listed", extra={"key": key, "resources": [str(each.resource) for each in lacking]})
            return LACKING_POLL_SECONDS
        return await self._reconciler.reconcile(key)

    def not_live(self) -> list[str]:
        """Return which reflectors hang."""
        return [f"{each.resource} of {_place(each.namespace)}: the watch hangs" for each in self.reflectors if not each.live]

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish the work in progress and release the lease."""
        settings = self.settings
        checks = {"live": self.not_live, "ready": self.not_ready, "remarks": self.remarks}
        server = HealthServer(settings.health_host, settings.health_port, **checks, metrics=self.metrics)
        async with server, asyncio.TaskGroup() as group:
            log.info("started", extra={"identity": self.elector.identity, "health_port": server.port})
            background = [group.create_task(each.run(), name=f"reflect {each.resource}") for each in self.reflectors]
            background.append(group.create_task(self._resync(), name="resync"))
            background.append(group.create_task(self._tell_refusals(), name="tell refusals"))
            background.append(group.create_task(self.connectivity.watch_for_standstills(), name="standstills"))
            leading = group.create_task(self._lead(), name="lead")
            await stop.wait()
            log.info("stopping")
            self.queue.close()
            # A standby replica has nothing to finish.
            await asyncio.wait([leading], timeout=DRAIN_SECONDS if self.elector.leading() else 0.0)
            leading.cancel()
            await asyncio.wait([leading])
            await self.elector.release()
            for task in background:
                task.cancel()

    async def _lead(self) -> None:
        """Wait for caches and lease, work while the lease lasts, and start over when it is lost."""
        for _, store in self._needed():
            await store.wait_until_known()
        while not self.queue.closed:
            await self.elector.acquire()
            self.queue.hurry()
            await self._work_while_leading()

    async def _work_while_leading(self) -> None:
        work = asyncio.create_task(Workers(self.queue, self._reconcile, self.metrics, self.settings.workers).run(), name="workers")
        keep = asyncio.create_task(self.elector.keep(), name="keep the lease")
        try:
            await asyncio.wait([work, keep], return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Lease lost: the workers stop where they are. Queue closed: they have ended, and nobody needs the lease.
            for task in (work, keep):
                task.cancel()
            results = await asyncio.gather(work, keep, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _resync(self) -> None:
        """Reconcile every job now and then, in case an event was missed; spread, so that not all come at once."""
        while True:
            await asyncio.sleep(self.settings.resync_seconds)
            keys = self.stores.jobs.keys()
            for key in keys:
                self.queue.add_after(key, random.uniform(0.0, self.settings.resync_seconds / 10))  # noqa: S311


def _place(namespace: str | None) -> str:
    return f"namespace {namespace}" if namespace else "all namespaces"


async def run(settings: Settings) -> None:
    """Run the controller until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    transport = await KubernetesTransport.connect(settings.kubeconfig, user_agent=NAME)
    try:
        await Controller(settings, transport).run(stop)
    finally:
        await transport.close()


def main(arguments: Sequence[str]) -> int:
    """Run the controller; returns the exit code: 0 after a signal, 2 for wrong settings, 1 for anything else."""
    try:
        settings = load_settings(arguments, os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    set_up_logging(settings.log_level)
    try:
        asyncio.run(run(settings))
    except ConnectionSettingsError as error:
        log.error("no connection to a cluster", extra={"error": str(error)})
        return 2
    except Exception:
        log.exception("the controller failed")
        return 1
    log.info("stopped")
    return 0
