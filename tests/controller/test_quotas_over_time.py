"""Many jobs that a quota refuses, in a namespace where other things come and go, in virtual time."""

import asyncio
from typing import Any

import pytest

from controller.runtime.errors import Forbidden
from controller.runtime.resources import RESOURCE_QUOTAS, KubeObject
from tests.controller.cluster import Cluster, play

RAY_JOB_COUNT = "count/rayjobs.ray.io"
SECONDS = 600
LEAST_PAUSE_SECONDS = 10


class Quota:
    """A ResourceQuota of RayJobs and pods, enforced and counted as the API server does it."""

    def __init__(self, cluster: Cluster, ray_jobs: int = 0) -> None:
        self.cluster, self.hard, self.pods, self.others, self.exists = cluster, ray_jobs, 0, 0, True
        cluster.inputs("quota")
        cluster.api.admission = self.admit
        self.count()

    def used(self) -> int:
        return self.others + len(self.cluster.started("quota"))

    def admit(self, item: KubeObject) -> None:
        if item["kind"] == "RayJob" and self.exists and self.used() >= self.hard:
            figures = f"requested: {RAY_JOB_COUNT}=1, used: {RAY_JOB_COUNT}={self.used()}, limited: {RAY_JOB_COUNT}={self.hard}"
            raise Forbidden(f'rayjobs.ray.io "{item["metadata"]["name"]}" is forbidden: exceeded quota: few, {figures}')

    def count(self) -> None:
        """Write into the quota what is in use, as its controller does."""
        hard = {RAY_JOB_COUNT: str(self.hard), "pods": "50"}
        used = {RAY_JOB_COUNT: str(self.used()), "pods": str(self.pods)}
        quota: dict[str, Any] = {"metadata": {"name": "few", "namespace": "quota"}, "spec": {"hard": hard}}
        self.cluster.api.put(RESOURCE_QUOTAS, {**quota, "status": {"hard": hard, "used": used}})

    async def wait_for(self, jobs: int) -> None:
        """Let so many jobs come and be refused for 20 minutes: after four their pauses are the longest, and they ask at any time."""
        for number in range(jobs):
            self.cluster.job(f"bot-{number}", "quota")
        await asyncio.sleep(1200)

    async def asked_in(self, seconds: float) -> int:
        """How many RayJobs are asked for in so many seconds."""
        index = len(self.cluster.api.requests)
        await asyncio.sleep(seconds)
        sent = self.cluster.asked_since(index)
        return sum(each.method == "POST" and each.path.endswith("/quota/rayjobs") for each in sent)


def test_pods_that_come_and_go_in_the_quota_wake_no_job_that_it_refused_for_its_ray_job() -> None:
    async def act(cluster: Cluster) -> None:
        quota = Quota(cluster)
        await quota.wait_for(10)

        async def churn() -> None:
            while True:
                quota.pods = 1 - quota.pods
                quota.count()
                await asyncio.sleep(1)

        churning = asyncio.create_task(churn())
        asked = await quota.asked_in(SECONDS)
        churning.cancel()
        assert asked <= 10 * (SECONDS / 90 + 1)  # as often as without any change

    play(act)


@pytest.mark.parametrize("free_seconds", [1, 20])
def test_ray_jobs_of_others_that_come_and_go_wake_each_job_no_more_often_than_the_least_pause_allows(free_seconds: int) -> None:
    async def act(cluster: Cluster) -> None:
        quota = Quota(cluster, ray_jobs=1)
        quota.others = 1
        quota.count()
        await quota.wait_for(10)

        def refuse_all(item: KubeObject) -> None:
            others, quota.others = quota.others, 1  # whatever became free, somebody else was faster
            try:
                quota.admit(item)
            finally:
                quota.others = others

        async def churn() -> None:
            while True:
                quota.others = 1 - quota.others
                quota.count()
                await asyncio.sleep(free_seconds)

        cluster.api.admission = refuse_all
        churning = asyncio.create_task(churn())
        asked = await quota.asked_in(SECONDS)
        churning.cancel()
        assert asked <= 10 * (SECONDS / LEAST_PAUSE_SECONDS + 1)

    play(act)


def test_when_one_place_becomes_free_one_of_200_jobs_takes_it_and_most_others_do_not_even_ask() -> None:
    async def act(cluster: Cluster) -> None:
        quota = Quota(cluster, ray_jobs=1)
        quota.others = 1
        quota.count()
        await quota.wait_for(200)

        async def keep_count() -> None:
            while True:
                await asyncio.sleep(0.01)
                if len(cluster.started("quota")) == 1:
                    return quota.count()

        quota.others = 0
        quota.count()
        counting = asyncio.create_task(keep_count())
        assert await quota.asked_in(LEAST_PAUSE_SECONDS) <= 200 / 2
        await counting

    play(act)


def test_a_quota_that_is_deleted_starts_all_that_it_refused_soon_also_those_that_were_refused_just_now() -> None:
    async def act(cluster: Cluster) -> None:
        quota = Quota(cluster)
        await quota.wait_for(20)
        for number in range(20, 40):
            cluster.job(f"bot-{number}", "quota")
        await asyncio.sleep(5)
        quota.exists = False
        cluster.api.remove(RESOURCE_QUOTAS, "quota", "few")
        await cluster.until(lambda: len(cluster.started("quota")) == 40, seconds=20)

    play(act)
