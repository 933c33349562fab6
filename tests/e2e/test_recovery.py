"""A driver that is killed half-way costs the steps since the last checkpoint and nothing else; a suspended job costs none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kubectl import Kubectl, condition
from tests.e2e.runs import quickstart_documents, volume_folder, watch

pytestmark = pytest.mark.fault

RECOVERY_SECONDS = 1200.0
KILL_DRIVER = (
    "import os, psutil, signal\n"
    "drivers = [p for p in psutil.process_iter(['cmdline']) if p.info['cmdline'] and p.info['cmdline'][1:3] == ['-m', 'trainer']]\n"
    "[os.kill(p.pid, signal.SIGKILL) for p in drivers]\n"
    "print(len(drivers))\n"
)


def test_a_killed_driver_leads_to_a_second_attempt_that_resumes_and_succeeds(namespace: Callable[[str], Kubectl], artifacts: Path) -> None:
    kubectl = namespace("recovery")
    kubectl.run("apply", "--filename", "-", stdin=quickstart_documents("killed"))
    killed_at: list[int] = []

    def look(status: dict[str, Any]) -> None:
        progress = status.get("progress") or {}
        step, total = progress.get("step") or 0, progress.get("totalSteps") or 0
        if not killed_at and status.get("checkpoints") and step >= total // 2:
            head = kubectl.pods("killed", "head", 1)[0]["metadata"]["name"]
            assert kubectl.run("exec", head, "--container", "ray-head", "--", "python", "-c", KILL_DRIVER).strip() == "1"
            killed_at.append(step)

    observed = watch(kubectl, "killed", artifacts, look, RECOVERY_SECONDS)
    status = observed.status
    assert killed_at
    assert condition(status, "Succeeded").get("status") == "True", status.get("conditions")
    first, second = status["attempts"]
    assert (first["outcome"], second["outcome"]) == ("Failed", "Succeeded")
    assert first["reason"] == "TrainerKilled"
    assert "killed by signal 9" in first["message"]
    # A checkpoint may have been written whose report the kill prevented.
    assert second["resumedFromStep"] == max(each["step"] for each in status["checkpoints"] if each["attempt"] == 1)
    assert status["progress"]["step"] == status["progress"]["totalSteps"]
    overlap = [numbers for numbers, current in observed.pods_of_attempts if len(numbers) > 1]
    assert not overlap, "pods of both attempts ran at the same time"
    logs = volume_folder(kubectl, status) / "logs"
    assert sorted(path.name for path in logs.iterdir() if path.is_dir()) == ["attempt-1", "attempt-2"]
    of_killed = (logs / "attempt-1" / "driver.log").read_text()
    assert "step 1/" in of_killed
    assert of_killed.splitlines()[-1].startswith("--- end of the log of the driver, ")


def test_a_suspended_job_loses_no_step_and_resumes_where_it_stopped(namespace: Callable[[str], Kubectl], artifacts: Path) -> None:
    kubectl = namespace("suspension")
    kubectl.run("apply", "--filename", "-", stdin=quickstart_documents("paused"))
    pods_left: list[int] = []

    def suspend(yes: bool) -> None:
        kubectl.run("patch", "finetunejob", "paused", "--type=merge", "--patch", json.dumps({"spec": {"runPolicy": {"suspend": yes}}}))

    def look(status: dict[str, Any]) -> None:
        said = condition(status, "Suspended")
        if pods_left:
            return
        if said.get("status") == "True" and "no pods run" in said["message"]:
            pods_left.append(len(kubectl.pods("paused", "head")))
            suspend(False)
        elif ((status.get("progress") or {}).get("step") or 0) >= 2:
            suspend(True)

    status = watch(kubectl, "paused", artifacts, look, RECOVERY_SECONDS).status
    assert condition(status, "Succeeded").get("status") == "True", status.get("conditions")
    first, second = status["attempts"]
    assert (first["outcome"], second["outcome"]) == ("Suspended", "Succeeded")
    assert first["stopRequestedTime"]
    assert first["lastStep"] == second["resumedFromStep"] >= 2
    assert pods_left == [0]
