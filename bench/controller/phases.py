"""The parts of the bench: jobs created at once, KubeRay's operator doing the same, reports of running jobs, many jobs at rest.

Each part has a control plane of its own. Test: tests/bench/controller/test_whole.py.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.controller import load
from bench.controller.audit import Asked, counts, created, delays, percentile
from bench.controller.cluster import KUBERAY, OURS, Cluster, TooSlowError, running, wait
from bench.controller.usage import Usage

BURST, REFERENCE, REST = "burst", "reference", "rest"
SETTLED_SECONDS = 3.0
POLL_SECONDS = 0.25
CALM_SECONDS = 10.0
WAITING_SHARE = 5
"""One of so many jobs at rest waits for a claim; the others have finished."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    jobs: int
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


@dataclass(frozen=True)
class Rest:
    """What many jobs cost that have ended or wait."""

    jobs: int
    caught_up_seconds: float
    caught_up_cpu_seconds: float
    seconds: float
    requests: dict[str, int] = field(default_factory=dict)
    leases: int = 0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    resident_bytes: int = 0


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
        cluster.start_controller()
        await asyncio.to_thread(wait, cluster.leads, "our controller leads", 60)
        ours = await _created_at_once(cluster, api, sizes)
        reports = await _reports(cluster, api, sizes)
        await asyncio.to_thread(cluster.stop_controller)
        return ours, await _created_at_once_by_kuberay(cluster, api, sizes), reports


async def _created_at_once(cluster: Cluster, api: load.Api, sizes: Sizes) -> Burst:
    begin, before, server = time.time(), cluster.ours(), cluster.part("kube-apiserver")
    await api.post_all(load.JOBS.format(BURST), [load.job(name) for name in load.names(sizes.jobs)])
    await _until(lambda: _there(api, load.RAY_JOBS.format(BURST), sizes.jobs), "all jobs have a RayJob", sizes.limit_seconds)
    await _settled(cluster, sizes.limit_seconds)
    return _result(cluster, sizes, begin, OURS, "finetunejobs", "rayjobs", (before, cluster.ours()), server)


async def _created_at_once_by_kuberay(cluster: Cluster, api: load.Api, sizes: Sizes) -> Burst:
    sample = await api.send("GET", f"{load.RAY_JOBS.format(BURST)}/{next(load.names(1))}-1")
    items = [load.copied(sample, f"{name}-1") for name in load.names(sizes.jobs)]
    cluster.start_kuberay(REFERENCE)
    await asyncio.sleep(SETTLED_SECONDS)
    begin, before, server = time.time(), cluster.part(KUBERAY), cluster.part("kube-apiserver")
    await api.post_all(load.RAY_JOBS.format(REFERENCE), items)
    path = load.RAY_CLUSTERS.format(REFERENCE)
    await _until(lambda: _there(api, path, sizes.jobs), "all RayJobs have a RayCluster", sizes.limit_seconds)
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
    await _settled(cluster, sizes.limit_seconds)
    progress = {
        clusters[f"{name}-1"]: f"{name}-1-progress-{ray_jobs[f'{name}-1']['metadata']['ownerReferences'][0]['uid'][:8]}"
        for name in load.names(sizes.jobs)
    }
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


def rest(directory: Path, sizes: Sizes) -> Rest:
    """Start the controller where many jobs have finished or wait, and leave it alone for a while."""
    with running(directory) as cluster:
        return asyncio.run(_rest(cluster, sizes))


async def _rest(cluster: Cluster, sizes: Sizes) -> Rest:
    async with load.Api.of(cluster.plane) as api:
        await load.prepare(api, REST)
        await _finish_many(cluster, api, sizes)
        began = cluster.start_controller()
        await asyncio.to_thread(wait, lambda: _looked_at(cluster, sizes.at_rest), "all jobs were looked at", sizes.limit_seconds)
        caught_up, used = time.time() - began, cluster.ours()
        await _settled(cluster, sizes.limit_seconds)
        await asyncio.sleep(CALM_SECONDS)
        begin, before = time.time(), cluster.ours()
        await asyncio.sleep(sizes.rest_seconds)
        end, after = time.time(), cluster.ours()
        requests = cluster.audited(begin, end)
        return Rest(
            jobs=sizes.at_rest,
            caught_up_seconds=caught_up,
            caught_up_cpu_seconds=used.cpu_seconds,
            seconds=end - begin,
            requests=counts(own(requests, OURS)),
            leases=sum(each.user == OURS and each.resource == "leases" for each in requests),
            cpu_seconds=after.cpu_seconds - before.cpu_seconds,
            peak_bytes=after.peak_bytes,
            resident_bytes=after.resident_bytes,
        )


def _looked_at(cluster: Cluster, count: int) -> bool:
    return cluster.leads() and cluster.metric("reconcile_seconds_count") >= count and cluster.metric("queue_depth") == 0


async def _finish_many(cluster: Cluster, api: load.Api, sizes: Sizes) -> None:
    """Have the controller bring one job to its end and let one wait; then create the others as copies of them."""
    cluster.start_controller()
    await asyncio.to_thread(wait, cluster.leads, "our controller leads", 60)
    jobs, ray_jobs = load.JOBS.format(REST), load.RAY_JOBS.format(REST)
    done = await api.send("POST", jobs, load.job("done"))
    await api.send("POST", jobs, load.job("waits", claim="missing"))
    await _until(lambda: _there(api, ray_jobs, 1), "a RayJob", 60)
    progress = f"{load.CONFIG_MAPS.format(REST)}/done-1-progress-{done['metadata']['uid'][:8]}"
    outcome = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 18.42 -> 9.64"}
    last = {**load.record("done-1-abcde", 9, load.now_text()), "stage": "Finished", "outcome": outcome}
    await api.send("PATCH", f"{ray_jobs}/done-1/status", {"status": load.running_status("done-1-abcde")}, load.MERGE)
    await asyncio.sleep(1)
    await api.send("PATCH", progress, {"data": {load.RECORD_KEY: load.json.dumps(last)}}, load.MERGE)
    await asyncio.sleep(1)
    ended = {"jobStatus": "SUCCEEDED", "jobDeploymentStatus": "Complete"}
    await api.send("PATCH", f"{ray_jobs}/done-1/status", {"status": ended}, load.MERGE)
    await _until(lambda: _phase(api, f"{jobs}/done", "Succeeded"), "a job has succeeded", 60)
    await _until(lambda: _phase(api, f"{jobs}/waits", "Pending"), "a job waits", 60)
    await asyncio.to_thread(cluster.stop_controller)
    models = [await api.send("GET", f"{jobs}/{name}") for name in ("done", "waits")]
    children = [(await api.send("GET", f"{ray_jobs}/done-1")), *await _supports(api)]
    await asyncio.gather(*(_copy(api, number, models, children) for number in range(sizes.at_rest - 2)))


SUPPORT_PATHS = (
    load.CONFIG_MAPS,
    "/api/v1/namespaces/{}/serviceaccounts",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
)


async def _supports(api: load.Api) -> list[load.Object]:
    """Return what the finished job left beside its RayJob."""
    found = []
    for path in SUPPORT_PATHS:
        for item in await api.list_all(path.format(REST) + "?labelSelector=finetune.dev/job%3Ddone"):
            found.append({**item, "path": path})
    return found


async def _copy(api: load.Api, number: int, models: list[load.Object], children: list[load.Object]) -> None:
    finished = number % WAITING_SHARE != 0
    model, name = models[0 if finished else 1], f"job-{number:05d}"
    path = load.JOBS.format(REST)
    made = await api.send("POST", path, load.copied(model, name))
    status = _renamed(model["status"], model["metadata"]["name"], name)
    await api.send("PATCH", f"{path}/{name}/status", {"status": status}, load.MERGE)
    if not finished:
        return
    uid = made["metadata"]["uid"]
    for child in children:
        old_uid = child["metadata"]["ownerReferences"][0]["uid"]
        wanted = child["metadata"]["name"].replace("done", name).replace(old_uid[:8], uid[:8])
        content = {key: value for key, value in child.items() if key != "path"}
        where = child.get("path", load.RAY_JOBS).format(REST)
        await api.send("POST", where, load.copied(content, wanted, owner=(name, uid)))
        if "path" not in child:
            await api.send("PATCH", f"{where}/{wanted}/status", {"status": child["status"]}, load.MERGE)


def _renamed(value: Any, old: str, new: str) -> Any:
    """Return a status with the names of another job in it."""
    return load.json.loads(load.json.dumps(value).replace(f'"{old}-1', f'"{new}-1').replace(f"/{old}-", f"/{new}-"))


async def _there(api: load.Api, path: str, count: int) -> bool:
    return await api.count(path) >= count


async def _phase(api: load.Api, path: str, phase: str) -> bool:
    return ((await api.send("GET", path)).get("status") or {}).get("phase") == phase


async def _until(done: Callable[[], Any], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not await done():
        if time.monotonic() > deadline:
            raise TooSlowError(f"after {seconds:.0f} s still not: {what}")
        await asyncio.sleep(POLL_SECONDS)


async def _settled(cluster: Cluster, seconds: float) -> None:
    """Return once no key has been worked on for a while."""
    deadline, seen, since = time.monotonic() + seconds, -1.0, time.monotonic()
    while time.monotonic() - since < SETTLED_SECONDS:
        done = await asyncio.to_thread(cluster.metric, "reconcile_seconds_count")
        depth = await asyncio.to_thread(cluster.metric, "queue_depth")
        if (done, depth) != (seen, 0.0):
            seen, since = done if depth == 0 else -1.0, time.monotonic()
        if time.monotonic() > deadline:
            raise TooSlowError(f"our controller still works after {seconds:.0f} s")
        await asyncio.sleep(POLL_SECONDS)


def describe(figures: Mapping[str, int]) -> str:
    """Return counts in words."""
    return ", ".join(f"{count} {what}" for what, count in figures.items()) or "nothing"
