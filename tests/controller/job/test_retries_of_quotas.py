"""A job that a quota refuses starts soon after the quota has room for it, and no other change of a quota wakes it."""

from typing import Any

import pytest

from controller.runtime.resources import RESOURCE_QUOTAS
from controller.runtime.transport import Response
from tests.controller.job.refused import QUOTA, quota, refused, requests_of, started, waiting_long


@pytest.mark.parametrize(
    "change",
    [
        lambda world: world.api.remove(RESOURCE_QUOTAS, "team", "jobs"),
        lambda world: world.api.put(RESOURCE_QUOTAS, quota(hard="4")),
        lambda world: world.api.put(RESOURCE_QUOTAS, quota(used="2")),
    ],
    ids=["gone", "raised", "less in use"],
)
async def test_room_in_the_quota_starts_the_job_at_once(change: Any) -> None:
    world = await waiting_long(QUOTA)
    world.api.heal()
    change(world)
    await requests_of(world, 4)
    assert started(world)


@pytest.mark.parametrize(
    "words",
    ["exceeded quota: q, used: 3", "failed quota: q: must specify cpu", "status unknown for quota: q", "insufficient quota to match"],
)
async def test_every_way_in_which_a_quota_refuses_is_known_as_one(words: str) -> None:
    world = await refused(Response(403, f'{{"kind":"Status","message":"rayjobs bot-1 is forbidden: {words}"}}'.encode()))
    assert world.condition("Running")["reason"] == "QuotaExceeded"
    assert "the job starts by itself when the quota has room or is gone" in world.condition("Running")["message"]


async def test_a_quota_of_which_more_is_used_wakes_nobody() -> None:
    world = await waiting_long(QUOTA)
    pause = await world.step()
    world.api.put(RESOURCE_QUOTAS, quota(used="9"))
    world.api.put(RESOURCE_QUOTAS, quota(used="0", name="another"))
    assert await world.step() == pause


async def test_a_quota_that_is_full_again_before_the_job_has_asked_lets_it_wait_as_before() -> None:
    world = await waiting_long(QUOTA)
    pause = await world.step()
    world.api.put(RESOURCE_QUOTAS, quota(used="2"))
    assert (await world.step() or 0) <= 3
    world.api.put(RESOURCE_QUOTAS, quota())
    assert await world.step() == pause


async def test_room_that_is_too_little_is_asked_for_once_and_after_that_when_the_quota_changes_again() -> None:
    world = await waiting_long(QUOTA)
    world.api.put(RESOURCE_QUOTAS, quota(used="2"))
    assert len(await requests_of(world, 20)) == 1
    world.api.put(RESOURCE_QUOTAS, quota(used="1"))
    assert len(await requests_of(world, 20)) == 1


async def test_a_job_that_was_refused_just_now_asks_no_earlier_than_after_the_least_pause_for_room_that_a_quota_has_got() -> None:
    world = await refused(QUOTA)
    world.api.put(RESOURCE_QUOTAS, quota(used="2"))
    assert 10 <= (await world.step() or 0) <= 13


async def test_being_woken_halves_the_tries_and_forgets_none_of_the_patience_beyond() -> None:
    world = await waiting_long(QUOTA)
    world.api.put(RESOURCE_QUOTAS, quota(used="2"))
    assert len(await requests_of(world, 20)) == 1
    assert (await world.step() or 0) > 20


async def test_a_quota_whose_refusal_names_no_resource_wakes_by_any_room_in_it_alone() -> None:
    world = await waiting_long(Response(403, b'{"kind":"Status","message":"bot-1 is forbidden: failed quota: jobs: must specify cpu"}'))
    pause = await world.step()
    world.api.put(RESOURCE_QUOTAS, quota(used="2", name="another"))
    world.api.put(RESOURCE_QUOTAS, quota(used="1", name="another"))
    assert await world.step() == pause
    world.api.put(RESOURCE_QUOTAS, quota(used="2"))
    assert (await world.step() or 0) <= 3


async def test_a_quota_that_is_in_no_cache_wakes_nobody_by_its_absence() -> None:
    world = await refused(Response(403, QUOTA.body.replace(b"quota: jobs", b"quota: of-the-whole-cluster")))
    assert len(await requests_of(world, 1800)) <= 45


async def test_what_a_quota_has_no_room_for_beside_itself_holds_up_no_job_that_has_it() -> None:
    world = await refused(QUOTA)
    full = "exceeded quota: jobs, requested: configmaps=1, used: configmaps=3, limited: configmaps=3"
    body = f'{{"kind":"Status","message":"bot-1-config is forbidden: {full}"}}'.encode()
    world.api.heal()
    world.api.fail(Response(403, body), method="POST", path="/configmaps", times=1000)
    await requests_of(world, 30)
    assert started(world)
