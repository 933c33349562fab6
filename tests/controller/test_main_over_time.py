"""The whole controller over minutes of outages and refusals, in virtual time, against an API server in memory."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.errors import Unreachable
from controller.runtime.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS
from controller.runtime.transport import Response
from tests.controller.cluster import Cluster, play

BOUND_SECONDS = 15.0


async def lose_the_way(cluster: Cluster) -> None:
    """Nothing is answered, and what was connected stays dead."""
    cluster.api.black_hole = True
    cluster.api.deafen_watches()
    await asyncio.sleep(60)
    cluster.api.black_hole = False


async def refuse_connections(cluster: Cluster) -> None:
    cluster.api.fail(Unreachable("connection refused"), times=100_000)
    cluster.api.cut_watches()
    await asyncio.sleep(60)
    cluster.api.heal()


async def restart_without_history(cluster: Cluster) -> None:
    """As after an upgrade: connections are refused, and then the watches are too old."""
    await refuse_connections(cluster)
    for kind in (FINE_TUNE_JOBS, RAY_JOBS, CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS):
        cluster.api.compact(kind)


@pytest.mark.parametrize("outage", [lose_the_way, refuse_connections, restart_without_history])
def test_after_a_minute_without_the_api_server_old_and_new_jobs_are_served_soon(outage: Callable[[Cluster], Awaitable[None]]) -> None:
    async def act(cluster: Cluster) -> None:
        for number in range(20):
            cluster.job(f"before-{number}")
        await cluster.until(lambda: len(cluster.started()) == 20)
        cluster.job("at-that-moment")
        await outage(cluster)
        cluster.job("after")
        await cluster.until(lambda: {"after", "at-that-moment"} <= cluster.started(), seconds=BOUND_SECONDS)

    play(act)


def foreign(name: str, namespace: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"of-{name}"}}


def test_many_jobs_that_cannot_start_ask_seldom_over_the_minutes_and_hold_up_nobody() -> None:
    async def act(cluster: Cluster) -> None:
        for namespace in ("taken", "quota", "policy"):
            cluster.inputs(namespace)
        answers = {"quota": (403, "exceeded quota: few"), "policy": (422, "denied by policy")}
        for namespace, (status, words) in answers.items():
            body = f'{{"kind":"Status","message":"{words}"}}'.encode()
            cluster.api.fail(Response(status, body), method="POST", path=f"/namespaces/{namespace}/rayjobs", times=10_000)
        for number in range(20):
            cluster.api.put(CONFIG_MAPS, foreign(f"bot-{number}-1-config", "taken"))
            for namespace in ("taken", "quota", "policy"):
                cluster.job(f"bot-{number}", namespace)
        await asyncio.sleep(60)

        counts = []
        for minutes in (1, 1, 10):
            index = len(cluster.api.requests)
            await asyncio.sleep(60 * minutes)
            counts.append(len(cluster.asked_since(index)) / minutes)
        assert counts[0] <= 60 * 2.5
        assert counts[1] <= 60 * 2
        assert counts[2] <= 60 * 1.25

        cluster.job("new")
        await cluster.until(lambda: "new" in cluster.started(), seconds=5)
        cluster.api.heal()
        await cluster.until(lambda: len(cluster.started("policy")) == 20, seconds=80)

    play(act)
