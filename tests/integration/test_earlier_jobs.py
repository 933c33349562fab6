"""Jobs that start from others, on the real API server with the real KubeRay operator; the test plays the driver's end."""

import json
from typing import Any

import pytest

from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.errors import Invalid
from controller.runtime.resources import CONFIG_MAPS
from tests.builders import resource
from tests.integration.jobs import Operator
from tests.integration.test_job_lifecycle import operator, report, started

__all__ = ["operator"]

pytestmark = pytest.mark.integration

SUCCESS = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 18.42 -> 9.64"}
MERGED = {"persistentVolumeClaim": {"claimName": "models", "path": "team"}, "export": ["merged"]}


async def succeed(operator: Operator, name: str) -> None:
    """Play the driver and KubeRay at the end of a job's first attempt."""
    ray_job = await started(operator, name)
    await report(operator, ray_job, outcome=SUCCESS, stage="Finished")
    await operator.end_ray_job(f"{name}-1", jobStatus="SUCCEEDED", jobDeploymentStatus="Complete")
    await operator.run_until(lambda: operator.has_condition(name, "Succeeded", "True"), f"{name} succeeded")


def folder_of(first: dict[str, Any]) -> str:
    return f"team/first-{first['metadata']['uid'][:8]}"


async def test_a_job_waits_for_the_one_that_it_starts_from_and_reads_what_that_wrote(operator: Operator) -> None:
    chain = resource("second", model={"fineTuneJob": {"name": "first"}}, continueFrom={"fineTuneJob": "first"})
    await operator.create(chain)
    await operator.pass_once()
    accepted = await operator.condition("second", "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "EarlierJobNotReady")
    assert "there is no FineTuneJob first" in accepted["message"]

    first = await operator.create(resource("first", output=MERGED))
    await started(operator, "first")
    accepted = await operator.condition("second", "Accepted")
    assert "model.fineTuneJob: the job first has not succeeded yet (it is Starting)" in accepted["message"]
    status = await operator.status("second")
    assert (status["phase"], status.get("attempts")) == ("Waiting", None)

    await succeed(operator, "first")
    ray_job = await started(operator, "second")
    folder, uid = folder_of(first), first["metadata"]["uid"]
    status = await operator.status("second")
    assert status["earlierJobs"] == [
        {"specField": field, "name": "first", "uid": uid, "output": {"claimName": "models", "path": "team"}}
        for field in ("model.fineTuneJob", "continueFrom")
    ]
    mounted = ray_job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert {"name": "claim-0", "mountPath": f"/mnt/claims/models/{folder}", "subPath": folder, "readOnly": True} in mounted
    config = json.loads((await operator.client.get(CONFIG_MAPS, "second-1-config", operator.namespace))["data"]["config.json"])
    earlier = {"name": "first", "uid": uid, "path": f"/mnt/claims/models/{folder}"}
    assert (config["model"]["path"], config["model"]["fineTuneJob"]) == (f"/mnt/claims/models/{folder}/model/merged", earlier)
    assert config["continueFrom"] == {"fineTuneJob": earlier}


async def test_what_the_trainer_says_of_the_earlier_job_is_in_status_and_the_deletion_of_that_job_hurts_nobody(operator: Operator) -> None:
    first = await operator.create(resource("first", output=MERGED))
    await succeed(operator, "first")
    await operator.create(resource("second", model={"fineTuneJob": {"name": "first"}}))
    ray_job = await started(operator, "second")
    await operator.client.delete(FINE_TUNE_JOBS, "first", operator.namespace)
    again = await operator.create(resource("first", output=MERGED))
    assert again["metadata"]["uid"] != first["metadata"]["uid"]

    made = {"name": "first", "uid": first["metadata"]["uid"], "step": 60, "digest": "sha256:abc"}
    model = {"name": "x", "source": "the job first", "precision": "float32", "digest": "sha256:abc", "fineTuneJob": made}
    continued = {"name": "first", "uid": first["metadata"]["uid"], "step": 60}
    await report(operator, ray_job, model=model, continuedFrom=continued)
    await operator.pass_once()
    status = await operator.status("second")
    assert status["model"]["fineTuneJob"] == made
    assert status["continuedFrom"] == continued
    assert status["earlierJobs"][0]["uid"] == first["metadata"]["uid"]
    assert await operator.find(RAY_JOBS, "second-1") is not None
    assert await operator.has_condition("second", "Accepted", "True")


async def test_a_suspended_job_finds_the_earlier_one_before_its_time_to_live_removes_it(operator: Operator) -> None:
    await operator.create(resource("second", continueFrom={"fineTuneJob": "first"}, runPolicy={"suspend": True}))
    first = await operator.create(resource("first", output=MERGED, runPolicy={"ttlSecondsAfterFinished": 0}))
    await report(operator, await started(operator, "first"), outcome=SUCCESS, stage="Finished")
    await operator.end_ray_job("first-1", jobStatus="SUCCEEDED", jobDeploymentStatus="Complete")

    async def gone() -> bool:
        return await operator.find(FINE_TUNE_JOBS, "first") is None

    await operator.run_until(gone, "first is deleted")
    status = await operator.status("second")
    assert (status["phase"], status["earlierJobs"][0]["uid"]) == ("Suspended", first["metadata"]["uid"])
    await operator.client.patch(FINE_TUNE_JOBS, "second", operator.namespace, {"spec": {"runPolicy": {"suspend": False}}})
    await started(operator, "second")


async def test_the_job_to_start_from_cannot_be_changed_nor_be_the_job_itself(operator: Operator) -> None:
    await operator.create(resource("second", continueFrom={"fineTuneJob": "first"}))
    with pytest.raises(Invalid, match="continueFrom: cannot be changed once the job exists"):
        await operator.client.patch(FINE_TUNE_JOBS, "second", operator.namespace, {"spec": {"continueFrom": {"fineTuneJob": "other"}}})
    with pytest.raises(Invalid, match=r"model.fineTuneJob.name: a job cannot start from itself"):
        await operator.create(resource("bot", model={"fineTuneJob": {"name": "bot"}}))
