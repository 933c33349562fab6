"""The account that drivers share: only where the policy is as it is shipped, and created once for all who wait."""

import asyncio
import copy
import json
from datetime import timedelta

import pytest

from controller.job.accounts import CREATED_SECONDS, KNOWN_SECONDS, UNKNOWN_SECONDS, Accounts
from controller.job.objects.attempt import Object, shared_objects
from controller.job.objects.form import SHARED_ACCOUNT
from controller.job.objects.policy import BINDINGS, POLICIES, binding, policy
from controller.kinds import RAY_JOBS
from controller.runtime.client import Client
from controller.runtime.errors import ServerError
from controller.runtime.resources import CONFIG_MAPS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, Resource
from controller.runtime.transport import Response
from controller.stores import Stores
from tests.controller.job.builders import Settings, record_text
from tests.controller.job.running import reporting
from tests.controller.job.world import World
from tests.fakes import FakeApi


class Asking:
    def __init__(self, name: str | None = "ours") -> None:
        self.api, self.now, self.stores = FakeApi(), 1000.0, Stores()
        self.api.put(POLICIES, copy.deepcopy(policy("ours")))
        self.api.put(BINDINGS, copy.deepcopy(binding("ours")))
        self.accounts = Accounts(self.stores, Client(self.api, field_manager="test"), name, lambda: self.now)
        self.made: list[str] = []

    async def create(self, each: Object) -> None:
        await asyncio.sleep(0)
        self.made.append(each.resource.kind)


async def test_heads_share_an_account_where_the_policy_is_in_force_and_it_is_asked_for_once() -> None:
    asking = Asking()
    assert await asyncio.gather(*(asking.accounts.shared() for _ in range(9))) == [True] * 9
    assert len(asking.api.requests) == 2
    asking.now += KNOWN_SECONDS
    asking.api.remove(BINDINGS, None, "ours")
    assert not await asking.accounts.shared()


async def test_without_a_policy_nobody_is_asked() -> None:
    asking = Asking(None)
    assert not await asking.accounts.shared()
    assert asking.api.requests == []


async def test_a_policy_that_comes_later_is_noticed() -> None:
    asking = Asking()
    asking.api.remove(POLICIES, None, "ours")
    assert not await asking.accounts.shared()
    asking.api.put(POLICIES, copy.deepcopy(policy("ours")))
    assert not await asking.accounts.shared()
    asking.now += UNKNOWN_SECONDS
    assert await asking.accounts.shared()


async def test_what_may_not_be_read_does_not_count_and_an_outage_is_no_answer() -> None:
    asking = Asking()
    asking.api.fail(Response(403, b'{"kind":"Status","message":"no"}'), method="GET", path="policies")
    assert not await asking.accounts.shared()
    asking = Asking()
    asking.api.fail(Response(503, b"{}"), method="GET", path="policies")
    with pytest.raises(ServerError):
        await asking.accounts.shared()
    assert await asking.accounts.shared()


async def test_the_account_is_created_once_for_all_who_wait_and_again_if_no_cache_shows_it() -> None:
    asking = Asking()
    await asyncio.gather(*(asking.accounts.complete("team", asking.create) for _ in range(9)))
    assert asking.made == ["ServiceAccount", "Role", "RoleBinding"]
    asking.now += CREATED_SECONDS
    for store in (asking.stores.service_accounts, asking.stores.roles):
        store.put({"metadata": {"name": SHARED_ACCOUNT, "namespace": "team"}})
    await asking.accounts.complete("team", asking.create)
    assert asking.made[3:] == ["RoleBinding"]
    await asking.accounts.complete("other", asking.create)
    assert asking.made[4:] == ["ServiceAccount", "Role", "RoleBinding"]


class Compact(World):
    """A world whose API server limits drivers."""

    def restart(self) -> None:
        super().restart()
        self.api.put(POLICIES, copy.deepcopy(policy("ours")))
        self.api.put(BINDINGS, copy.deepcopy(binding("ours")))
        self.reconciler = type(self.reconciler)(
            self.stores, self.client, Settings(driver_policy="ours"), self.log, clock=self.clock, monotonic=lambda: self.now.timestamp()
        )


async def test_where_heads_share_an_account_a_job_takes_one_object_and_two_status_writes() -> None:
    world = Compact()
    for _ in range(4):
        await world.step()
    assert world.writes() == [
        "PATCH status",
        "POST serviceaccounts", "POST roles", "POST rolebindings",
        "POST rayjobs",
        "PATCH status",
    ]  # fmt: skip
    assert reporting(world) is None


REFUSALS = {
    "a policy": Response(403, b'{"kind":"Status","message":"a policy says no"}'),
    "a quota": Response(403, b'{"kind":"Status","message":"exceeded quota: few, requested: count/roles=1, used: 1, limited: 1"}'),
    "a webhook that is down": Response(500, b'{"kind":"Status","message":"failed calling webhook"}'),
}


@pytest.mark.parametrize("kind", [SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS], ids=str)
@pytest.mark.parametrize("refusal", [pytest.param(answer, id=name) for name, answer in REFUSALS.items()])
async def test_where_a_part_of_the_account_is_refused_the_job_says_so_and_starts_when_it_is_not(refusal: Response, kind: Resource) -> None:
    world = Compact()
    world.api.fail(refusal, method="POST", path=f"/{kind.plural}", times=4)
    for _ in range(5):
        pause = await world.step()
        assert world.ray_jobs() == []
        world.now += timedelta(seconds=pause or 1.0)
    assert str(json.loads(refusal.body)["message"]) in world.condition("Running")["message"]
    for _ in range(2):
        world.now += timedelta(seconds=await world.step() or 0.0)
    assert world.ray_jobs() == ["bot-1"]
    assert [each["number"] for each in world.status["attempts"]] == [1]


async def test_a_job_that_may_not_create_the_account_starts_as_soon_as_another_one_has() -> None:
    world = Compact()
    world.api.fail(REFUSALS["a policy"], method="POST", path="/roles", times=9)
    for _ in range(3):
        await world.step()
    assert world.ray_jobs() == []
    for each in shared_objects("team"):
        world.api.put(each.resource, each.item)
    await world.step()
    assert world.ray_jobs() == ["bot-1"]


async def running(world: World) -> World:
    """Bring the world's job to a RayJob that runs."""
    for _ in range(3):
        await world.step()
    [item] = world.api.objects(RAY_JOBS)
    words = {"jobStatus": "RUNNING", "jobDeploymentStatus": "Running", "rayClusterName": "bot-1-x7k2p"}
    world.api.put(RAY_JOBS, {**item, "status": words})
    await world.step()
    return world


async def test_a_large_configuration_has_a_config_map_of_its_own_which_is_made_again() -> None:
    source = {"persistentVolumeClaim": {"claimName": "models", "path": "x" * 1000}}
    world = await running(Compact(data={"train": [source | {"columns": {"prompt": f"p{number}"}} for number in range(40)]}))
    names = sorted(item["metadata"]["name"] for item in world.api.objects(CONFIG_MAPS))
    assert names == ["bot-1-config", "bot-1-progress-0123abcd", "rows"]
    assert "downwardAPI" not in str(
        world.api.objects(RAY_JOBS)[0]["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"][0]
    )
    world.api.remove(CONFIG_MAPS, "team", "bot-1-config")
    await world.step()
    assert reporting(world) == ("True", "DeletedAndRestored")


@pytest.mark.parametrize("kind", [SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS], ids=str)
async def test_what_somebody_deletes_of_the_shared_account_is_made_again(kind: Resource) -> None:
    world = await running(Compact())
    assert reporting(world) is None
    world.api.remove(kind, "team", SHARED_ACCOUNT)
    await world.step()
    assert [item["metadata"]["name"] for item in world.api.objects(kind)] == [SHARED_ACCOUNT]
    assert reporting(world) == ("True", "DeletedAndRestored")


async def test_a_driver_that_has_not_reported_yet_is_not_asked_after_and_its_progress_is_not_made_for_it() -> None:
    world = await running(Compact())
    count = len(world.api.requests)
    await world.step()
    assert len(world.api.requests) == count
    world.put_child(CONFIG_MAPS, "bot-1-progress-0123abcd", 1, data={"record.json": record_text()})
    await world.step()
    assert world.status["progress"]["step"] == 20
    world.api.remove(CONFIG_MAPS, "team", "bot-1-progress-0123abcd")
    count = len(world.api.requests)
    await world.step()
    assert len(world.api.requests) == count
    assert reporting(world) is None


async def test_an_attempt_that_runs_keeps_its_form_whatever_becomes_of_the_policy() -> None:
    world = await running(Compact())
    world.reconciler = type(world.reconciler)(world.stores, world.client, Settings(), world.log, clock=world.clock)
    await world.step()
    assert reporting(world) is None
    assert [item["metadata"]["name"] for item in world.api.objects(ROLES)] == [SHARED_ACCOUNT]
    old = World()
    for _ in range(3):
        await old.step()
    old.put_ray_job(1)
    old.reconciler = type(old.reconciler)(old.stores, old.client, Settings(driver_policy="ours"), old.log, clock=old.clock)
    await old.step()
    assert reporting(old) is None
    assert [item["metadata"]["name"] for item in old.api.objects(ROLES)] == ["bot-1"]
