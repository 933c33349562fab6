"""The whole controller against an API server in memory, with real time and a lease that is measured in tenths of seconds."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controller import main
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.main import Controller
from controller.rights import RIGHTS
from controller.runtime import elector
from controller.runtime.resources import CONFIG_MAPS, EVENTS, LEASES, PERSISTENT_VOLUME_CLAIMS
from controller.runtime.transport import Response
from controller.settings import Settings
from tests.builders import resource
from tests.controller.runtime.builders import until
from tests.fakes import FakeApi
from tests.fakewire import as_asked


def settings(**fields: Any) -> Settings:
    lease = {"lease_duration_seconds": 1.5, "lease_renew_deadline_seconds": 1.0, "lease_retry_seconds": 0.1}
    return Settings(trainer_image="trainer:1", health_host="127.0.0.1", health_port=0, lease_namespace="ops", **lease, **fields)


def job(name: str = "bot") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team-a", "generation": 1}
    return {**resource(), "metadata": metadata}


def with_inputs(api: FakeApi) -> FakeApi:
    """What the job of the builders refers to, and the rights of the controller's account."""
    api.granted = as_asked([*RIGHTS, *elector.RIGHTS])
    api.put(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "models", "namespace": "team-a"}})
    api.put(CONFIG_MAPS, {"metadata": {"name": "rows", "namespace": "team-a"}, "data": {"train.jsonl": "{}"}})
    return api


@asynccontextmanager
async def running(api: FakeApi, **fields: Any) -> AsyncIterator[tuple[Controller, asyncio.Event]]:
    controller, stop = Controller(settings(**fields), api), asyncio.Event()
    task = asyncio.create_task(controller.run(stop))
    try:
        yield controller, stop
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


def holder(api: FakeApi) -> str:
    leases = api.objects(LEASES)
    return str(leases[0]["spec"]["holderIdentity"]) if leases else ""


async def test_a_job_gets_its_ray_job_its_status_and_an_event() -> None:
    api = with_inputs(FakeApi())
    async with running(api):
        api.put(FINE_TUNE_JOBS, job())
        await until(lambda: bool(api.objects(RAY_JOBS)), seconds=20)
        assert api.objects(EVENTS) == [], "that a job starts is no news"
        api.put(RAY_JOBS, {**api.objects(RAY_JOBS)[0], "status": {"jobStatus": "RUNNING", "jobDeploymentStatus": "Running"}})
        await until(lambda: bool(api.objects(EVENTS)), seconds=20)

    assert api.objects(RAY_JOBS)[0]["metadata"]["name"] == "bot-1"
    assert api.objects(FINE_TUNE_JOBS)[0]["status"]["conditions"]
    assert holder(api) == ""


async def test_without_kuberay_it_runs_says_so_and_starts_the_job_when_kuberay_comes() -> None:
    api = with_inputs(FakeApi())
    api.absent.add(str(RAY_JOBS))
    async with running(api) as (controller, _):
        api.put(FINE_TUNE_JOBS, job())
        await until(lambda: "status" in api.objects(FINE_TUNE_JOBS)[0], seconds=20)
        assert "KubeRay" in str(api.objects(FINE_TUNE_JOBS)[0]["status"]["conditions"])
        assert controller.not_ready() == []
        api.absent.clear()
        await until(lambda: bool(api.objects(RAY_JOBS)), seconds=20)


async def test_what_happened_while_the_lease_was_lost_is_done_when_it_is_back() -> None:
    api = with_inputs(FakeApi())
    async with running(api) as (controller, _):
        await until(controller.elector.leading, seconds=20)
        api.black_hole = True
        await until(lambda: not controller.elector.leading(), seconds=20)
        api.black_hole = False
        api.put(FINE_TUNE_JOBS, job())
        await until(lambda: bool(api.objects(RAY_JOBS)), seconds=30)
        assert controller.elector.leading()


async def test_a_standby_changes_nothing_is_ready_and_stops_at_once() -> None:
    api = with_inputs(FakeApi())
    async with running(api, identity="leader") as (leader, _):
        await until(leader.elector.leading, seconds=20)
        async with running(api, identity="standby") as (standby, stop):
            await until(lambda: standby.not_ready() == [], seconds=20)
            before = len([request for request in api.requests if request.method != "GET"])
            clock = asyncio.get_running_loop().time
            stopped = clock()
            stop.set()
        assert clock() - stopped < 2
        assert before > 0
        assert holder(api).startswith("leader_")


async def test_it_works_with_rights_that_are_older_than_the_look_at_what_only_hastens() -> None:
    api = with_inputs(FakeApi())
    for kind in ("resourcequotas", "rolebindings"):
        api.fail(Response(403, b"{}"), method="GET", path=kind, times=1000)
    async with running(api) as (controller, _):
        api.put(FINE_TUNE_JOBS, job())
        await until(lambda: bool(api.objects(RAY_JOBS)), seconds=20)
        assert controller.not_ready() == []


def in_namespace(namespace: str) -> dict[str, Any]:
    return {**job(), "metadata": {**job()["metadata"], "namespace": namespace}}


async def test_a_namespace_that_may_not_be_listed_holds_up_no_other_and_nothing_is_done_in_it_before_all_of_it_is_known() -> None:
    api = with_inputs(FakeApi())
    api.put(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "models", "namespace": "team-b"}})
    api.put(CONFIG_MAPS, {"metadata": {"name": "rows", "namespace": "team-b"}, "data": {"train.jsonl": "{}"}})
    api.fail(Response(403, b"{}"), method="GET", path="/api/v1/namespaces/team-b/pods", times=1000)
    api.fail(Response(403, b"{}"), method="GET", path="/namespaces/team-c/", times=1000)
    async with running(api, namespaces=("team-a", "team-b", "team-c")) as (controller, _):
        for namespace in ("team-b", "team-a"):
            api.put(FINE_TUNE_JOBS, in_namespace(namespace))
        await until(lambda: bool(api.objects(RAY_JOBS)), seconds=20)
        assert controller.not_ready() == []
        await asyncio.sleep(0.3)
        assert [each["metadata"]["namespace"] for each in api.objects(RAY_JOBS)] == ["team-a"]
        written = [request.path for request in api.requests if request.method != "GET"]
        assert not [path for path in written if "team-b" in path or "team-c" in path]

        api.heal()
        await until(lambda: len(api.objects(RAY_JOBS)) == 2, seconds=8)  # before the next look that nothing calls for


async def test_a_namespace_without_its_role_is_named_once_in_the_log_and_in_the_answer_about_readiness(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "LACKING_POLL_SECONDS", 0.2)
    caplog.set_level(logging.INFO)
    api = with_inputs(FakeApi())
    api.fail(Response(403, b"{}"), method="GET", path="/api/v1/namespaces/team-b/resourcequotas", times=1000)
    api.fail(Response(403, b"{}"), method="GET", path="/namespaces/team-c/", times=1000)

    def told(words: str) -> list[logging.LogRecord]:
        return [each for each in caplog.records if words in each.getMessage()]

    async with running(api, namespaces=("team-a", "team-b", "team-c")) as (controller, _):
        await until(lambda: len(told("rights are missing")) == 2 and controller.not_ready() == [], seconds=20)
        await asyncio.sleep(0.6)
        quotas, everything = told("rights are missing")
        assert (quotas.namespace, quotas.resources) == ("team-b", ["resourcequotas"])  # type: ignore[attr-defined]
        assert "jobs run" in quotas.getMessage()
        assert everything.namespace == "team-c"  # type: ignore[attr-defined]
        assert "jobs wait until" in everything.getMessage()
        assert {"finetunejobs.finetune.dev", "pods"} < set(everything.resources)  # type: ignore[attr-defined]
        assert controller.remarks()[0] == "namespace team-b: no right to list and watch resourcequotas"
        assert controller.remarks()[1].startswith(
            "namespace team-c: no right to list and watch finetunejobs.finetune.dev, rayjobs.ray.io, pods,"
        )
        assert {each.namespace for each in told("watch failed")} == {"team-b", "team-c"}  # type: ignore[attr-defined]
        assert {each.namespace for each in told("listed")} == {"team-a", "team-b"}  # type: ignore[attr-defined]

        api.heal()
        await until(lambda: len(told("no right is missing any more")) == 2, seconds=40)
        assert controller.remarks() == []


async def test_it_is_not_ready_where_no_namespace_may_be_listed() -> None:
    api = FakeApi()
    api.fail(Response(403, b"{}"), method="GET", path="/namespaces/team-a/", times=1000)
    async with running(api, namespaces=("team-a",)) as (controller, _):
        await asyncio.sleep(0.3)
        assert "pods: not listed yet" in controller.not_ready()


async def test_it_is_not_ready_where_there_are_no_finetunejobs_until_their_definition_comes() -> None:
    api = FakeApi()
    api.absent.add(str(FINE_TUNE_JOBS))
    async with running(api) as (controller, _):
        await until(lambda: len(controller.not_ready()) == 1, seconds=20)
        [problem] = controller.not_ready()
        assert "install the CustomResourceDefinition" in problem
        assert controller.not_live() == []
        api.absent.clear()
        await until(lambda: controller.not_ready() == [], seconds=20)


async def test_it_is_not_ready_before_its_caches_are_filled_and_alive_all_the_time() -> None:
    api = FakeApi()
    async with running(api) as (controller, _):
        assert "finetunejobs.finetune.dev: not listed yet" in controller.not_ready()
        assert controller.not_live() == []
        await until(lambda: controller.not_ready() == [], seconds=20)
