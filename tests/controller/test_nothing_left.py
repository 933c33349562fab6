"""Of jobs that came and went, whatever happened to them, nothing is left in the memory of the controller, in virtual time."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from weakref import WeakValueDictionary

import pytest

from controller.job.names import labels
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.errors import Forbidden
from controller.runtime.resources import CONFIG_MAPS, PODS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, KubeObject
from controller.runtime.workqueue import STALE_MOST
from tests.builders import resource
from tests.controller.cluster import Cluster, play
from tests.fakes import FakeApi

MARK = "fleeting"
KINDS = (RAY_JOBS, PODS, CONFIG_MAPS, ROLES, ROLE_BINDINGS, SERVICE_ACCOUNTS)
PER_FATE = 15
KILLED = {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}
FATES = ("runs", "lacks its rows", "refused", "loses a role", "forged report", "loses a pod", "gone at once")


def mentions(thing: object, path: str = "", seen: set[int] | None = None) -> Iterator[str]:
    """Yield where a text with the mark is in the controller's objects: in their members, and in all that holds others."""
    seen = set() if seen is None else seen
    if isinstance(thing, str | bytes):
        if (MARK if isinstance(thing, str) else MARK.encode()) in thing:
            yield path
        return
    if id(thing) in seen or isinstance(thing, FakeApi | type):
        return
    seen.add(id(thing))
    if isinstance(thing, Mapping | WeakValueDictionary):
        for key, value in list(thing.items()):
            yield from mentions(key, f"{path}[key]", seen)
            yield from mentions(value, f"{path}[]", seen)
    elif isinstance(thing, list | tuple | set | frozenset | deque):
        for each in list(thing):
            yield from mentions(each, f"{path}[]", seen)
    elif type(thing).__module__.startswith("controller."):
        names = [*getattr(thing, "__dict__", ()), *getattr(type(thing), "__slots__", ())]
        for name in names:
            yield from mentions(getattr(thing, name, None), f"{path}.{name}", seen)


class Coming:
    """Jobs that come with a fate each, and go with all that is theirs, as the garbage collector takes it away."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.api, self.last = cluster, cluster.api, list[tuple[str, str]]()
        self.api.admission = self.admit
        self.refuses_roles = False

    def admit(self, item: KubeObject) -> None:
        if (item["kind"] == "RayJob" and "refused" in item["metadata"]["name"]) or (item["kind"] == "Role" and self.refuses_roles):
            raise Forbidden(f"{item['kind']} {item['metadata']['name']} is forbidden: a policy refuses it")

    def come(self, turn: int) -> None:
        self.refuses_roles = False
        for fate in FATES:
            for number in range(PER_FATE):
                name = f"{MARK}-{fate.replace(' ', '-')}-{turn}-{number}"
                rows = f"{name}-rows" if fate == "lacks its rows" else "rows"
                policy = {"activeDeadlineSeconds": 604_800, "pendingDeadlineSeconds": 86_400}
                job = resource(name, data={"train": [{"configMap": {"name": rows, "key": "train.jsonl"}}]}, runPolicy=policy)
                self.api.put(FINE_TUNE_JOBS, {**job, "metadata": {"name": name, "namespace": "team-a", "generation": 1}})
                self.last.append((name, fate))

    async def meet_their_fate(self) -> None:
        self.refuses_roles = True
        for name, fate in self.last:
            [job] = [each for each in self.api.objects(FINE_TUNE_JOBS) if each["metadata"]["name"] == name]
            uid = job["metadata"]["uid"]
            metadata = {"namespace": "team-a", "labels": labels(name, uid, 1, "worker")}
            if fate == "loses a role":
                self.api.remove(ROLES, "team-a", f"{name}-1")
            elif fate == "forged report":
                self.api.put(CONFIG_MAPS, {"metadata": {**metadata, "name": f"{name}-forged"}, "data": {"record.json": "[]"}})
            elif fate == "loses a pod":
                for pod in (f"{name}-pod", f"{name}-pod-that-stays"):
                    self.api.put(PODS, {"metadata": {**metadata, "name": pod}, "status": KILLED})
        await asyncio.sleep(5)
        for name, fate in self.last:
            if fate == "loses a pod":
                self.api.remove(PODS, "team-a", f"{name}-pod")

    def go(self) -> None:
        for name, _ in self.last:
            self.api.remove(FINE_TUNE_JOBS, "team-a", name)
        for kind in KINDS:
            for item in [each for each in self.api.objects(kind) if MARK in each["metadata"]["name"]]:
                self.api.remove(kind, "team-a", item["metadata"]["name"])
        self.last.clear()


@pytest.mark.parametrize("rounds", [pytest.param(4, id="hundreds"), pytest.param(24, id="thousands", marks=pytest.mark.slow)])
def test_of_jobs_that_came_and_went_nothing_is_left(rounds: int) -> None:
    async def act(cluster: Cluster) -> None:
        cluster.job("stays")
        coming = Coming(cluster)
        for turn in range(rounds):
            coming.come(turn)
            if turn % 2:  # the other half goes in the middle of its start
                await asyncio.sleep(10)
                await coming.meet_their_fate()
                await asyncio.sleep(10)
            else:
                await asyncio.sleep(0.01 * turn)
            assert list(mentions(cluster.controller)), "the controller knows them while they are there"
            coming.go()
            cluster.api.requests.clear()
        await asyncio.sleep(300)
        left = sorted(mentions(cluster.controller))
        delays = [each for each in left if "._heap[" in each]
        assert len(delays) <= STALE_MOST + 2
        assert [each for each in left if each not in delays] == []

    play(act)
