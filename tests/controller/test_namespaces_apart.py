"""Objects in one namespace change nothing about a job in another, whatever their names, labels and owners say.

The controller watches all namespaces here, so that everything is in its caches.
"""

import asyncio
import copy
from typing import Any

import pytest

from controller.job.names import UID_LABEL, labels, progress_name
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PODS, KubeObject, Resource
from tests.controller.job.builders import UID, record_text
from tests.controller.job.world import OWNER
from tests.controller.runtime.builders import until
from tests.controller.test_main import job, running, with_inputs
from tests.fakes import FakeApi

SUCCESS = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 18.42 -> 1.01"}
RAN_OUT = [{"name": "ray-worker", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]


def job_in(namespace: str, uid: str) -> KubeObject:
    return {**job(), "metadata": {**job()["metadata"], "namespace": namespace, "uid": uid}}


def forged(name: str, role: str | None = None, **content: Any) -> KubeObject:
    """Return an object in team-b that says it is of the job in team-a."""
    metadata = {"name": name, "namespace": "team-b", "labels": labels("bot", UID, 1, role), "ownerReferences": [OWNER]}
    return {"metadata": metadata, **content}


def forgeries(cluster: str) -> dict[str, tuple[Resource, KubeObject]]:
    record = record_text(cluster=cluster, outcome=SUCCESS, stage="Finished")
    failed = {"jobStatus": "FAILED", "jobDeploymentStatus": "Failed", "message": "exit code 1"}
    return {
        "report": (CONFIG_MAPS, forged(progress_name("bot", UID, 1), data={"record.json": record})),
        "failed pod": (PODS, forged("bot-1-abcde-worker-fghij", "worker", status={"phase": "Failed", "containerStatuses": RAN_OUT})),
        "Ray job": (RAY_JOBS, forged("bot-7", status=failed, spec={})),
    }


def seen(api: FakeApi, namespace: str) -> tuple[Any, list[str]]:
    [found] = [each for each in api.objects(FINE_TUNE_JOBS) if each["metadata"]["namespace"] == namespace]
    ours = [each["metadata"]["name"] for each in api.objects(RAY_JOBS) if each["metadata"]["namespace"] == namespace]
    return copy.deepcopy(found.get("status")), ours


@pytest.mark.parametrize("what", forgeries(""))
async def test_objects_in_another_namespace_that_name_a_job_as_theirs_change_nothing_about_it(what: str) -> None:
    api = with_inputs(FakeApi())
    for kind, name in ((PERSISTENT_VOLUME_CLAIMS, "models"), (CONFIG_MAPS, "rows")):
        api.put(kind, {"metadata": {"name": name, "namespace": "team-b"}, "data": {"train.jsonl": "{}"}})
    async with running(api) as (controller, _):
        api.put(FINE_TUNE_JOBS, job_in("team-a", UID))
        await until(lambda: bool(api.objects(RAY_JOBS)), seconds=20)
        status = {"jobStatus": "RUNNING", "jobDeploymentStatus": "Running", "rayClusterName": "bot-1-x7k2p"}
        api.put(RAY_JOBS, {**api.objects(RAY_JOBS)[0], "status": status})
        await until(lambda: seen(api, "team-a")[0]["phase"] == "Running", seconds=20)
        before = seen(api, "team-a")

        kind, item = forgeries("bot-1-x7k2p")[what]
        api.put(kind, item)
        for key in ("team-a/bot", "team-b/bot"):
            controller.queue.add(key)
        await asyncio.sleep(0.3)
        assert seen(api, "team-a") == before

        # A job of that name in the other namespace is another one, and what is forged is not taken for its own.
        api.put(FINE_TUNE_JOBS, job_in("team-b", "9" * 8 + UID[8:]))
        await until(lambda: "bot-1" in seen(api, "team-b")[1], seconds=20)
        assert [each["number"] for each in seen(api, "team-b")[0]["attempts"]] == [1]
        assert seen(api, "team-a") == before
        assert item["metadata"]["labels"][UID_LABEL] == UID
