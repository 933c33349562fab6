"""`python -m controller` as the chart runs it: as its own account, with its own rights, on the real API server."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.builders import resource
from tests.cluster.controlplane import ControlPlane
from tests.integration.processes import CLAIM, CLAIMS, CONFIG_MAPS, JOBS, LEASE, ROWS, Process, create, reason_of, wait
from tests.repository import REPOSITORY

pytestmark = pytest.mark.integration


def test_a_job_waits_for_its_claim_and_starts_when_the_claim_comes(
    control_plane: ControlPlane, start: Callable[[str], Process], namespace: str
) -> None:
    controller = start("solo")
    wait(controller.ready, "ready")
    assert controller.ask("/healthz") == (200, "ok\n")
    wait(controller.leads, "leading")
    create(control_plane, namespace, CONFIG_MAPS, ROWS)
    create(control_plane, namespace, JOBS, resource("bot"))
    wait(lambda: reason_of(control_plane, namespace, "bot", "Accepted") is not None, "a condition")
    ray_job = f"/apis/ray.io/v1/namespaces/{namespace}/rayjobs/bot-1"
    assert not control_plane.api.exists(ray_job)

    create(control_plane, namespace, CLAIMS, CLAIM)
    wait(lambda: control_plane.api.exists(ray_job), "a RayJob")

    metrics = controller.ask("/metrics")[1]
    assert 'finetune_controller_cached_objects{resource="finetunejobs.finetune.dev"}' in metrics
    assert "finetune_controller_reconcile_seconds_count" in metrics
    controller.process.send_signal(signal.SIGTERM)
    assert controller.process.wait(timeout=10) == 0
    assert control_plane.api.get(LEASE)["spec"]["holderIdentity"] == ""
    unexpected = [record for record in controller.records() if "unexpected" in str(record) or "forbidden" in str(record)]
    assert unexpected == []


def test_a_killed_leader_is_replaced_and_a_stopped_one_hands_over_at_once(
    control_plane: ControlPlane, start: Callable[[str], Process], namespace: str
) -> None:
    first = start("first")
    wait(first.leads, "the first leads")
    second = start("second")
    wait(second.ready, "the second is ready, standing by")
    assert not second.leads()

    first.process.kill()
    took = wait(second.leads, "the second leads")
    assert took > 1.0, "its predecessor's lease had not expired yet"
    create(control_plane, namespace, JOBS, resource("after-kill"))
    wait(lambda: reason_of(control_plane, namespace, "after-kill", "Accepted") is not None, "reconciled by the second")

    third = start("third")
    wait(third.ready, "the third is ready")
    began = time.monotonic()
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(timeout=10) == 0
    assert time.monotonic() - began < 8
    wait(third.leads, "the third leads", seconds=10)


def test_the_controller_outlives_a_restart_of_the_api_server(
    control_plane: ControlPlane, start: Callable[[str], Process], namespace: str
) -> None:
    controller = start("patient")
    wait(controller.leads, "leading")
    control_plane.restart_apiserver()
    create(control_plane, namespace, JOBS, resource("after-restart"))
    wait(lambda: reason_of(control_plane, namespace, "after-restart", "Accepted") is not None, "reconciled after the restart")
    assert controller.process.poll() is None
    assert controller.ask("/healthz")[0] == 200


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        pytest.param({}, "TRAINER_IMAGE: Field required", id="no image"),
        pytest.param({"TRAINER_IMAGE": "t", "KUBECONFIG": "/none"}, "/none: no such file", id="no kubeconfig"),
    ],
)
def test_a_wrong_setting_ends_the_controller_with_code_2_and_its_name(environment: dict[str, str], words: str) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in {"KUBECONFIG", "TRAINER_IMAGE"}}
    ended = subprocess.run([sys.executable, "-m", "controller"], cwd=REPOSITORY, env=clean | environment, capture_output=True, text=True)

    assert ended.returncode == 2
    assert words in ended.stderr
