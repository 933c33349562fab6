"""Jobs created at once beside many at rest, KubeRay's operator doing the same, and the reports of running jobs, on one control plane.

Test: tests/bench/controller/test_whole.py.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.controller import load
from bench.controller.audit import Asked, counts, created, delays, percentile
from bench.controller.cluster import KUBERAY, OURS, Cluster, running, wait
from bench.controller.filling import fill, looked_at
from bench.controller.usage import Usage
from bench.controller.waiting import SETTLED_SECONDS, settled, there, until

BURST, REFERENCE = "burst", "reference"


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    jobs: int
    """Created at once; so many fewer are at rest then."""
    at_rest: int
    reports_seconds: float
    rest_seconds: float
    interval_seconds: float = 15.0
    limit_seconds: float = 900.0


@dataclass(frozen=True)
class Burst:
    """What came of objects created at once: seconds from each to its child, and what the operator asked for and used."""

    delays: list[float]
    requests: dict[str, int]
    cpu_seconds: float
    server_cpu_seconds: float
    peak_bytes: int
    jobs: int

    @property
    def requests_per_job(self) -> float:
        """Requests but for watches and leases."""
        return sum(self.requests.values()) / self.jobs

    def quantile(self, share: float) -> float:
        """Return the delay that `share` of the jobs did not exceed."""
        return percentile(self.delays, share)


@dataclass(frozen=True)
class Reports:
    """What came of the progress reports of running jobs."""

    jobs: int
    seconds: float
    reported: int
    writes: int
    waiting_most: int
    waiting_end: int
    cpu_seconds: float
    peak_bytes: int


def own(requests: list[Asked], user: str) -> list[Asked]:
    """Return what a program asked for but for watches, and for the lease, which does not depend on jobs."""
    return [each for each in requests if each.user == user and each.verb != "watch" and each.resource != "leases"]


def burst(directory: Path, sizes: Sizes) -> tuple[Burst, Burst, Reports]:
    """Create jobs at once, have them report, then give KubeRay's operator as many RayJobs of the same form."""
    with running(directory) as cluster:
        return asyncio.run(_burst(cluster, sizes))


async def _burst(cluster: Cluster, sizes: Sizes) -> tuple[Burst, Burst, Reports]:
    async with load.Api.of(cluster.plane) as api:
        await load.prepare(api, BURST)
        await load.prepare(api, REFERENCE)
        others = sizes.at_rest - sizes.jobs
        await fill(cluster, api, others)
        cluster.start_controller()
        await asyncio.to_thread(wait, lambda: looked_at(cluster, others), "the jobs at rest were looked at", sizes.limit_seconds)
        ours = await _created_at_once(cluster, api, sizes)
        reports = await _reports(cluster, api, sizes)
        await asyncio.to_thread(cluster.stop_controller)
        return ours, await _created_at_once_by_kuberay(cluster, api, sizes), reports


async def _created_at_once(cluster: Cluster, api: load.Api, sizes: Sizes) -> Burst:
    begin, before, server = time.time(), cluster.ours(), cluster.part("kube-apiserver")
    await api.post_all(load.JOBS.format(BURST), [load.job(name) for name in load.names(sizes.jobs)])
    await until(lambda: there(api, load.RAY_JOBS.format(BURST), sizes.jobs), "all jobs have a RayJob", sizes.limit_seconds)
    await settled(cluster, sizes.limit_seconds)
    return _result(cluster, sizes, begin, OURS, "finetunejobs", "rayjobs", (before, cluster.ours()), server)


async def _created_at_once_by_kuberay(cluster: Cluster, api: load.Api, sizes: Sizes) -> Burst:
    sample = await api.send("GET", f"{load.RAY_JOBS.format(BURST)}/{next(load.names(1))}-1")
    items = [load.copied(sample, f"{name}-1") for name in load.names(sizes.jobs)]
    cluster.start_kuberay(REFERENCE)
    await asyncio.sleep(SETTLED_SECONDS)
    begin, before, server = time.time(), cluster.part(KUBERAY), cluster.part("kube-apiserver")
    await api.post_all(load.RAY_JOBS.format(REFERENCE), items)
    path = load.RAY_CLUSTERS.format(REFERENCE)
    await until(lambda: there(api, path, sizes.jobs), "all RayJobs have a RayCluster", sizes.limit_seconds)
    return _result(cluster, sizes, begin, KUBERAY, "rayjobs", "rayclusters", (before, cluster.part(KUBERAY)), server)


def _result(
    cluster: Cluster, sizes: Sizes, begin: float, user: str, parent: str, child: str, used: tuple[Usage, Usage], server: Usage
) -> Burst:
    end = time.time()
    requests = cluster.audited(begin, end)
    mine = own(requests, user)
    return Burst(
        delays=delays(created(requests, parent), created(mine, child), lambda name: name.rpartition("-")[0]),
        requests=counts(mine),
        cpu_seconds=used[1].cpu_seconds - used[0].cpu_seconds,
        server_cpu_seconds=cluster.part("kube-apiserver").cpu_seconds - server.cpu_seconds,
        peak_bytes=used[1].peak_bytes,
        jobs=sizes.jobs,
    )


async def _reports(cluster: Cluster, api: load.Api, sizes: Sizes) -> Reports:
    """Have all jobs run and report; the status writes that follow are counted."""
    path = load.RAY_JOBS.format(BURST)
    ray_jobs = {item["metadata"]["name"]: item for item in await api.list_all(path)}
    clusters = {name: f"{name}-abcde" for name in ray_jobs}
    await asyncio.gather(
        *(api.send("PATCH", f"{path}/{name}/status", {"status": load.running_status(of)}, load.MERGE) for name, of in clusters.items())
    )
    await settled(cluster, sizes.limit_seconds)
    progress = {clusters[name]: load.progress_metadata(item) for name, item in ray_jobs.items()}
    player = load.Player(api, BURST, progress, sizes.interval_seconds)
    begin, before, waiting = time.time(), cluster.ours(), list[float]()
    play = asyncio.create_task(player.run(sizes.reports_seconds))
    while not play.done():
        await asyncio.wait([play], timeout=1.0)
        waiting.append(await asyncio.to_thread(cluster.metric, "queue_depth"))
    await play
    end, after = time.time(), cluster.ours()
    writes = counts(own(cluster.audited(begin, end), OURS)).get("patch finetunejobs/status", 0)
    return Reports(
        jobs=sizes.jobs,
        seconds=end - begin,
        reported=player.reported,
        writes=writes,
        waiting_most=int(max(waiting, default=0)),
        waiting_end=int(waiting[-1]) if waiting else 0,
        cpu_seconds=after.cpu_seconds - before.cpu_seconds,
        peak_bytes=after.peak_bytes,
    )


def describe(figures: Mapping[str, int]) -> str:
    """Return counts in words."""
    return ", ".join(f"{count} {what}" for what, count in figures.items()) or "nothing"
