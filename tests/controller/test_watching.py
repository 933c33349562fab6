import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from controller.kinds import FINE_TUNE_JOBS, JOB_LABEL, QUEUE_LABEL, RAY_JOBS, WORKLOADS
from controller.runtime.client import Client
from controller.runtime.metrics import Metrics
from controller.runtime.resources import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RESOURCE_QUOTAS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    KubeObject,
    Resource,
)
from controller.runtime.store import StoreState
from controller.stores import Stores
from controller.watching import build_reflectors
from finetune.api.conditions import Reason
from tests.fakes import FakeApi


def item(name: str, *, job: str | None = None, namespace: str = "team-a", claim: str | None = None) -> KubeObject:
    labels = {JOB_LABEL: job} if job else {}
    spec = {"output": {"persistentVolumeClaim": {"claimName": claim}}} if claim else {}
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec}


class Watching:
    """All reflectors on a fake API server, and the keys that they asked to look at."""

    def __init__(self, api: FakeApi, *namespaces: str) -> None:
        self.stores, self.keys, self.later = Stores(), list[str](), list[tuple[str, float]]()
        client = Client(api, field_manager="test")
        self.reflectors = build_reflectors(
            self.stores, client, Metrics("test"), self.keys.append, lambda *due: self.later.append(due), namespaces=namespaces
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        tasks = [asyncio.create_task(each.run()) for each in self.reflectors]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

    async def settle(self) -> None:
        for _ in range(200):
            await asyncio.sleep(0)


async def keys_after(api: FakeApi, change: object) -> list[str]:
    watching = Watching(api)
    with watching.running():
        await watching.settle()
        watching.keys.clear()
        change()  # type: ignore[operator]
        await watching.settle()
    return watching.keys


@pytest.mark.parametrize("resource", [RAY_JOBS, PODS, CONFIG_MAPS, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS], ids=str)
async def test_a_change_of_a_child_has_its_job_looked_at(resource: Resource) -> None:
    api = FakeApi()

    assert await keys_after(api, lambda: api.put(resource, item("child", job="bot"))) == ["team-a/bot"]


@pytest.mark.parametrize("resource", [RAY_JOBS, CONFIG_MAPS, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS], ids=str)
async def test_a_child_that_somebody_deletes_has_its_job_looked_at(resource: Resource) -> None:
    api = FakeApi()
    api.put(resource, item("child", job="bot"))

    assert await keys_after(api, lambda: api.remove(resource, "team-a", "child")) == ["team-a/bot"]


async def test_of_accounts_and_rights_no_contents_are_asked_for() -> None:
    api = FakeApi()
    await keys_after(api, lambda: None)
    kinds = ("serviceaccounts", "roles", "rolebindings")
    accepted = {request.accept for request in api.requests if request.path.rsplit("/", 1)[-1] in kinds}
    assert accepted
    assert all("PartialObjectMetadata" in accept for accept in accepted)


async def test_a_child_whose_label_changes_concerns_both_jobs() -> None:
    api = FakeApi()
    api.put(PODS, item("pod", job="old"))

    assert sorted(await keys_after(api, lambda: api.put(PODS, item("pod", job="new")))) == ["team-a/new", "team-a/old"]


async def test_a_pod_of_somebody_else_concerns_nobody() -> None:
    api = FakeApi()

    assert await keys_after(api, lambda: api.put(PODS, item("stranger"))) == []


async def test_a_job_is_looked_at_when_it_changes_and_when_it_goes() -> None:
    api = FakeApi()

    def change() -> None:
        api.put(FINE_TUNE_JOBS, item("bot"))
        api.remove(FINE_TUNE_JOBS, "team-a", "bot")

    assert await keys_after(api, change) == ["team-a/bot", "team-a/bot"]


async def test_the_coming_and_going_of_a_claim_concerns_the_jobs_that_name_it() -> None:
    api = FakeApi()
    api.put(FINE_TUNE_JOBS, item("bot", claim="models"))
    api.put(FINE_TUNE_JOBS, item("other", claim="other"))

    def change() -> None:
        api.put(PERSISTENT_VOLUME_CLAIMS, item("models"))
        api.put(PERSISTENT_VOLUME_CLAIMS, item("models"))
        api.remove(PERSISTENT_VOLUME_CLAIMS, "team-a", "models")

    assert await keys_after(api, change) == ["team-a/bot", "team-a/bot"]


def workload(of: str, kind: str = "RayJob", **status: object) -> KubeObject:
    owner = {"apiVersion": "ray.io/v1" if kind == "RayJob" else "batch/v1", "kind": kind, "name": of, "uid": "u", "controller": True}
    return {"metadata": {"name": f"{kind.lower()}-{of}", "namespace": "team-a", "ownerReferences": [owner]}, "status": status}


async def test_what_kueue_says_of_a_ray_job_concerns_its_job_and_what_it_says_of_others_nobody() -> None:
    api = FakeApi()
    api.put(RAY_JOBS, item("bot-1", job="bot"))

    assert await keys_after(api, lambda: api.put(WORKLOADS, workload("bot-1"))) == ["team-a/bot"]
    assert await keys_after(api, lambda: api.remove(WORKLOADS, "team-a", "rayjob-bot-1")) == ["team-a/bot"]
    assert await keys_after(api, lambda: api.put(WORKLOADS, workload("bot-1", "Job"))) == []
    assert await keys_after(api, lambda: api.put(WORKLOADS, workload("of-somebody-1"))) == []


async def test_a_job_whose_workload_is_only_reworded_is_looked_at_a_little_later() -> None:
    def pending(message: str, reason: str = "Pending") -> KubeObject:
        return workload("bot-1", conditions=[{"type": "QuotaReserved", "status": "False", "reason": reason, "message": message}])

    api = FakeApi()
    api.put(RAY_JOBS, item("bot-1", job="bot"))
    api.put(WORKLOADS, pending("8 cpu are missing"))
    watching = Watching(api)
    with watching.running():
        await watching.settle()
        watching.keys.clear()
        api.put(WORKLOADS, pending("7 cpu are missing"))
        await watching.settle()
        assert (watching.keys, watching.later) == ([], [("team-a/bot", 15.0)])
        changed = pending("7 cpu are missing", "Inadmissible"), workload("bot-1", conditions=[{"type": "Admitted", "status": "True"}])
        for each in changed:
            api.put(WORKLOADS, each)
            await watching.settle()
        assert watching.keys == ["team-a/bot"] * len(changed)
        assert len(watching.later) == 1


async def test_kueue_that_is_installed_or_removed_concerns_jobs_with_a_queue_also_by_default() -> None:
    api = FakeApi()
    api.absent.add(str(WORKLOADS))
    api.put(FINE_TUNE_JOBS, item("plain"))
    queued = item("queued")
    queued["metadata"]["labels"] = {QUEUE_LABEL: "team-a"}
    api.put(FINE_TUNE_JOBS, queued)
    api.put(FINE_TUNE_JOBS, item("by-default") | {"status": {"conditions": [{"type": "Queued", "status": "False"}]}})
    watching = Watching(api)
    [reflector] = [each for each in watching.reflectors if each.resource is WORKLOADS]
    with watching.running():
        await watching.settle()
        assert watching.stores.workloads.state is StoreState.ABSENT
        watching.keys.clear()
        api.absent.clear()
        reflector.reconnect()
        await watching.settle()
        assert watching.stores.workloads.state is StoreState.SYNCED
    assert sorted(watching.keys) == ["team-a/by-default", "team-a/queued"]


async def test_an_earlier_job_that_comes_changes_its_state_or_goes_concerns_the_jobs_that_start_from_it() -> None:
    api = FakeApi()
    api.put(FINE_TUNE_JOBS, item("of-model") | {"spec": {"model": {"fineTuneJob": {"name": "first"}}}})
    api.put(FINE_TUNE_JOBS, item("of-run") | {"spec": {"continueFrom": {"fineTuneJob": "first"}}})
    api.put(FINE_TUNE_JOBS, item("elsewhere", namespace="team-b") | {"spec": {"continueFrom": {"fineTuneJob": "first"}}})

    def change() -> None:
        api.put(FINE_TUNE_JOBS, item("first"))
        api.put(FINE_TUNE_JOBS, item("first") | {"status": {"phase": "Running", "progress": {"step": 1}}})
        api.put(FINE_TUNE_JOBS, item("first") | {"status": {"phase": "Running", "progress": {"step": 2}}})
        api.put(FINE_TUNE_JOBS, item("first") | {"status": {"phase": "Succeeded"}})
        api.remove(FINE_TUNE_JOBS, "team-a", "first")

    all_three = ["team-a/first", "team-a/of-model", "team-a/of-run"]
    assert await keys_after(api, change) == [*all_three, *all_three, "team-a/first", *all_three, *all_three]


async def test_a_job_that_finds_an_earlier_one_ends_or_goes_concerns_that_one() -> None:
    api, spec = FakeApi(), {"spec": {"model": {"fineTuneJob": {"name": "first"}}}}
    api.put(FINE_TUNE_JOBS, item("second") | spec | {"status": {"phase": "Suspended"}})

    def change() -> None:
        noted = {"phase": "Suspended", "earlierJobs": [{"name": "first"}]}
        api.put(FINE_TUNE_JOBS, item("second") | spec | {"status": noted})
        api.put(FINE_TUNE_JOBS, item("second") | spec | {"status": noted | {"progress": {"step": 1}}})
        api.remove(FINE_TUNE_JOBS, "team-a", "second")

    both = ["team-a/second", "team-a/first"]
    assert await keys_after(api, change) == [*both, "team-a/second", *both]


def quota(hard: str, pods: str = "1", name: str = "few") -> KubeObject:
    hards, used = {"count/rayjobs.ray.io": hard, "pods": "9"}, {"count/rayjobs.ray.io": "1", "pods": pods}
    return {"metadata": {"name": name, "namespace": "team-a"}, "spec": {"hard": hards}, "status": {"used": used}}


def refused(words: str) -> KubeObject:
    return {"status": {"conditions": [{"type": "Running", "status": "False", "reason": Reason.QUOTA_EXCEEDED, "message": words}]}}


async def test_room_in_a_quota_concerns_the_jobs_that_it_has_refused_for_lack_of_it() -> None:
    api = FakeApi()
    count = "count/rayjobs.ray.io"
    words = refused(f"exceeded quota: few, requested: {count}=1, used: {count}=1, limited: {count}=1")
    api.put(FINE_TUNE_JOBS, item("refused") | words)
    api.put(FINE_TUNE_JOBS, item("refused-elsewhere", namespace="team-b") | words)
    api.put(FINE_TUNE_JOBS, item("refused-by-another") | refused("failed quota: another: must specify limits.cpu"))
    api.put(FINE_TUNE_JOBS, item("refused-in-other-words") | refused("no more quota"))
    api.put(FINE_TUNE_JOBS, item("runs"))
    api.put(RESOURCE_QUOTAS, quota("1"))

    either = ["team-a/refused", "team-a/refused-in-other-words"]
    assert sorted(await keys_after(api, lambda: api.put(RESOURCE_QUOTAS, quota("2")))) == either
    assert await keys_after(api, lambda: api.put(RESOURCE_QUOTAS, quota("1"))) == []
    assert await keys_after(api, lambda: api.put(RESOURCE_QUOTAS, quota("1", pods="0"))) == ["team-a/refused-in-other-words"]
    assert await keys_after(api, lambda: api.put(RESOURCE_QUOTAS, quota("1", name="new"))) == ["team-a/refused-in-other-words"]
    assert sorted(await keys_after(api, lambda: api.remove(RESOURCE_QUOTAS, "team-a", "few"))) == either


async def test_without_kuberay_all_other_caches_fill_and_jobs_say_so() -> None:
    api = FakeApi()
    api.absent.add(str(RAY_JOBS))
    api.put(FINE_TUNE_JOBS, item("bot"))
    watching = Watching(api)
    with watching.running():
        await watching.settle()

    assert watching.stores.ray_jobs.state is StoreState.ABSENT
    assert watching.stores.jobs.state is StoreState.SYNCED
    assert watching.keys.count("team-a/bot") >= 1


async def test_one_namespace_is_watched_where_one_is_set() -> None:
    api = FakeApi()
    api.put(FINE_TUNE_JOBS, item("ours"))
    api.put(FINE_TUNE_JOBS, item("theirs", namespace="team-b"))
    watching = Watching(api, "team-a")
    with watching.running():
        await watching.settle()

    assert set(watching.keys) == {"team-a/ours"}
    assert all("/namespaces/team-a/" in request.path for request in api.requests)


async def test_of_claims_only_the_metadata_is_asked_for() -> None:
    api = FakeApi()
    watching = Watching(api)
    with watching.running():
        await watching.settle()

    asked = [request.accept for request in api.requests if "persistentvolumeclaims" in request.path]
    assert asked
    assert all("PartialObjectMetadata" in accept for accept in asked)


async def test_several_namespaces_are_watched_each_by_itself_and_no_other_is_asked_for() -> None:
    api = FakeApi()
    for namespace in ("team-a", "team-b", "team-c"):
        api.put(FINE_TUNE_JOBS, item("bot", namespace=namespace))
    watching = Watching(api, "team-a", "team-b")
    with watching.running():
        await watching.settle()
        assert watching.stores.jobs.keys() == ["team-a/bot", "team-b/bot"]
        watching.keys.clear()
        api.put(PODS, item("pod", job="bot", namespace="team-b"))
        api.put(PODS, item("pod", job="bot", namespace="team-c"))
        await watching.settle()
    assert watching.keys == ["team-b/bot"]
    assert all("/namespaces/team-a/" in request.path or "/namespaces/team-b/" in request.path for request in api.requests)
