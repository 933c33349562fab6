"""Many jobs that have finished or wait: what they cost, and how soon a controller that starts has looked at all of them.

KubeRay's operator gets the RayJobs that the finished ones have left, which are finished too.

Test: tests/bench/controller/test_whole.py.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from bench.controller import load
from bench.controller.audit import counts
from bench.controller.cluster import KUBERAY, OURS, Cluster, TooSlowError, running, wait
from bench.controller.filling import REST, fill, looked_at
from bench.controller.phases import Sizes, own
from bench.controller.usage import Usage
from bench.controller.waiting import settled

CALM_SECONDS = 10.0
CALM_SHARE = 0.05
"""Of a core: what it takes to look at thousands of objects takes far more."""


@dataclass(frozen=True)
class Rest:
    """What many jobs cost that have ended or wait. For KubeRay's operator nothing says when it has looked at all."""

    jobs: int
    caught_up_seconds: float | None
    caught_up_cpu_seconds: float
    seconds: float
    requests: dict[str, int] = field(default_factory=dict)
    leases: int = 0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    resident_bytes: int = 0


def rest(directory: Path, sizes: Sizes) -> tuple[Rest, Rest]:
    """Start the controller where many jobs have finished or wait, and leave it alone for a while; then KubeRay's operator."""
    with running(directory) as cluster:
        return asyncio.run(_rest(cluster, sizes))


async def _rest(cluster: Cluster, sizes: Sizes) -> tuple[Rest, Rest]:
    async with load.Api.of(cluster.plane) as api:
        await fill(cluster, api, sizes.at_rest)
        began = cluster.start_controller()
        await asyncio.to_thread(wait, lambda: looked_at(cluster, sizes.at_rest), "all jobs were looked at", sizes.limit_seconds)
        caught_up = time.time() - began
        used = cluster.ours().cpu_seconds
        await settled(cluster, sizes.limit_seconds)
        ours = replace(await _left_alone(cluster, cluster.ours, OURS, sizes), caught_up_seconds=caught_up, caught_up_cpu_seconds=used)
        await asyncio.to_thread(cluster.stop_controller)
        finished = await api.count(load.RAY_JOBS.format(REST))
        cluster.start_kuberay(REST)
        usage = partial(cluster.part, KUBERAY)
        used = await _calm(usage, sizes.limit_seconds)
        return ours, replace(await _left_alone(cluster, usage, KUBERAY, sizes), jobs=finished, caught_up_cpu_seconds=used)


async def _calm(usage: Callable[[], Usage], limit_seconds: float) -> float:
    """Return how many CPU-seconds a program has used once it does hardly anything any more."""
    deadline, used = time.monotonic() + limit_seconds, usage().cpu_seconds
    while time.monotonic() < deadline:
        await asyncio.sleep(CALM_SECONDS)
        before, used = used, usage().cpu_seconds
        if used - before < CALM_SHARE * CALM_SECONDS:
            return before
    raise TooSlowError(f"the operator still works after {limit_seconds:.0f} s")


async def _left_alone(cluster: Cluster, usage: Callable[[], Usage], user: str, sizes: Sizes) -> Rest:
    """Return what a program uses and asks for while nothing happens."""
    await asyncio.sleep(CALM_SECONDS)
    begin, before = time.time(), usage()
    await asyncio.sleep(sizes.rest_seconds)
    end, after = time.time(), usage()
    requests = cluster.audited(begin, end)
    return Rest(
        jobs=sizes.at_rest,
        caught_up_seconds=None,
        caught_up_cpu_seconds=0.0,
        seconds=end - begin,
        requests=counts(own(requests, user)),
        leases=sum(each.user == user and each.resource == "leases" for each in requests),
        cpu_seconds=after.cpu_seconds - before.cpu_seconds,
        peak_bytes=after.peak_bytes,
        resident_bytes=after.resident_bytes,
    )
