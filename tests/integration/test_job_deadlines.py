"""Deadlines, stalls and the time to live of a job on the real API server with the real KubeRay operator; the test plays the driver."""

import subprocess
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.job.names import progress_name
from controller.job.policies.stalled import GRACE
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PODS
from tests.builders import resource
from tests.cluster import binaries
from tests.cluster.controlplane import ControlPlane
from tests.controller.job.builders import record_text
from tests.integration.jobs import Operator

pytestmark = pytest.mark.integration

RUNNING = {"jobStatus": "RUNNING", "jobDeploymentStatus": "Running"}


@pytest.fixture
async def operator(control_plane: ControlPlane, account: Path) -> AsyncIterator[Operator]:
    async with await Operator.connect(control_plane.kubeconfig, account, f"limits-{uuid.uuid4().hex[:8]}") as operator:
        await operator.claim("models")
        await operator.config_map("rows", **{"train.jsonl": '{"prompt": "a", "completion": "b"}'})
        yield operator


async def with_pods(operator: Operator, **policy: Any) -> dict[str, Any]:
    """Create a job, and pass until its first attempt has pods; return its RayJob."""
    await operator.create(resource(runPolicy=policy))

    async def ready() -> dict[str, Any] | None:
        ray_job = await operator.find(RAY_JOBS, "bot-1")
        return ray_job if ray_job is not None and len(await operator.names(PODS)) >= 2 else None

    return dict(await operator.run_until(ready, "started"))


async def runs(operator: Operator) -> None:
    """Play KubeRay, which has no node to start anything on."""
    await operator.end_ray_job("bot-1", **RUNNING)
    await operator.run_until(lambda: operator.has_condition("bot", "Running", "True"), "running")


async def nothing_left(operator: Operator) -> bool:
    return await operator.names(RAY_JOBS) == [] and await operator.names(PODS) == []


def waited_for(control_plane: ControlPlane, operator: Operator, condition: str) -> str:
    """Return what `kubectl wait` says of a condition that is there already."""
    command = [str(binaries.kubectl()), f"--kubeconfig={control_plane.kubeconfig}", f"--namespace={operator.namespace}", "wait"]
    asked = [*command, "finetunejob/bot", f"--for=condition={condition}", "--timeout=10s"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


async def test_a_job_that_has_run_for_as_long_as_it_may_fails_and_loses_its_pods(operator: Operator, control_plane: ControlPlane) -> None:
    await with_pods(operator, activeDeadlineSeconds=2)
    await runs(operator)
    await operator.run_until(lambda: operator.has_condition("bot", "Failed", "True", "DeadlineExceeded"), "overdue")
    await operator.run_until(lambda: nothing_left(operator), "empty")
    status = await operator.status("bot")
    assert (status["phase"], status["attempts"][0]["reason"], len(status["attempts"])) == ("Failed", "DeadlineExceeded", 1)
    assert status["activeSeconds"] >= 2
    assert waited_for(control_plane, operator, "Failed") == "finetunejob.finetune.dev/bot condition met"
    assert operator.log.reasons.count("DeadlineExceeded") == 1


async def test_a_job_that_gets_no_node_fails_with_what_the_scheduler_says(operator: Operator, control_plane: ControlPlane) -> None:
    control_plane.start_scheduler()
    try:
        await with_pods(operator, pendingDeadlineSeconds=5)

        async def unschedulable() -> bool:
            return "Unschedulable" in (await operator.condition("bot", "Running")).get("message", "")

        await operator.run_until(unschedulable, "unschedulable")
        assert (await operator.status("bot"))["waitingSince"]
        await operator.run_until(lambda: operator.has_condition("bot", "Failed", "True", "PendingDeadlineExceeded"), "given up")
    finally:
        control_plane.stop_scheduler()
    assert "Unschedulable: no nodes available" in (await operator.condition("bot", "Failed"))["message"]
    await operator.run_until(lambda: nothing_left(operator), "empty")


async def test_a_trainer_that_falls_silent_is_named_and_replaced(operator: Operator) -> None:
    ray_job = await with_pods(operator, stallTimeoutSeconds=300)
    await runs(operator)
    cluster = (await operator.find(RAY_JOBS, "bot-1") or {})["status"]["rayClusterName"]
    uid = ray_job["metadata"]["ownerReferences"][0]["uid"]
    progress = progress_name("bot", uid, 1)

    async def report(sequence: int) -> None:
        text = record_text(cluster=cluster, sequence=sequence)
        await operator.client.patch(CONFIG_MAPS, progress, operator.namespace, {"data": {"record.json": text}})
        await operator.pass_once()

    await report(1)
    operator.ahead = timedelta(seconds=290)
    await operator.pass_once()
    assert await operator.condition("bot", "Stalled") == {}
    operator.ahead = timedelta(seconds=301)
    await operator.pass_once()
    assert await operator.has_condition("bot", "Stalled", "True", "Stalled")
    await report(2)
    assert await operator.has_condition("bot", "Stalled", "False", "ReportsAgain")

    operator.ahead += timedelta(seconds=301)
    await operator.pass_once()
    operator.ahead += GRACE
    await operator.pass_once()
    [first] = (await operator.status("bot"))["attempts"]
    assert (first["outcome"], first["reason"], first["lastStep"]) == ("Failed", "Stalled", 20)

    async def second() -> bool:
        return await operator.find(RAY_JOBS, "bot-2") is not None

    operator.ahead += timedelta(seconds=30)
    await operator.run_until(second, "started again")
    assert await operator.find(RAY_JOBS, "bot-1") is None


async def test_a_job_goes_with_all_it_owns_when_its_time_to_live_is_over(operator: Operator) -> None:
    await with_pods(operator, ttlSecondsAfterFinished=2)
    await operator.end_ray_job("bot-1", jobStatus="FAILED", jobDeploymentStatus="Failed", message="Job failed with exit code 2, no rows")
    await operator.run_until(lambda: operator.has_condition("bot", "Failed", "True", "InputInvalid"), "failed")

    async def gone() -> bool:
        return await operator.find(FINE_TUNE_JOBS, "bot") is None and await nothing_left(operator)

    await operator.run_until(gone, "gone")
    assert await operator.find(PERSISTENT_VOLUME_CLAIMS, "models") is not None
    assert await operator.find(CONFIG_MAPS, "rows") is not None


async def test_a_job_of_another_controller_is_left_alone(operator: Operator) -> None:
    await operator.create(resource(runPolicy={"managedBy": "example.com/other"}))
    for _ in range(3):
        await operator.pass_once()
    assert (await operator.status("bot"), await operator.names(RAY_JOBS)) == ({}, [])
