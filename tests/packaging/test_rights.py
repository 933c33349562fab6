"""The rights of the manifests are enough for the controller and no more: it runs with its own account on a real API server.

Without a node no pod runs; what the controller asks of the API from a job's start to its suspension is asked all the same.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.job.names import progress_name
from tests.cluster.controlplane import ControlPlane
from tests.packaging.installed import ACCOUNT, Cluster
from tests.packaging.rendered import NAMESPACE
from tests.repository import REPOSITORY

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 30.0
JOB = "finetunejob/quickstart"


@pytest.fixture
def log(control_plane: ControlPlane, cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """Runs the controller with its account until the test is over; its log."""
    log = tmp_path / "controller.log"
    environment = {
        **os.environ,
        "KUBECONFIG": str(control_plane.kubeconfig_for_service_account(NAMESPACE, ACCOUNT)),
        "FINETUNE_NAMESPACES": cluster.namespace,
        "FINETUNE_LEASE_NAMESPACE": NAMESPACE,
        # Who creates the Lease waits for its duration.
        "FINETUNE_LEASE_DURATION_SECONDS": "4",
        "FINETUNE_LEASE_RENEW_DEADLINE_SECONDS": "2.5",
        "FINETUNE_LEASE_RETRY_SECONDS": "0.5",
        "FINETUNE_HEALTH_PORT": "0",
        "FINETUNE_HEALTH_HOST": "127.0.0.1",
        "TRAINER_IMAGE": "trainer",
    }
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, "-m", "controller"], cwd=REPOSITORY, env=environment, stdout=output, stderr=output)
        try:
            yield log
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def wait_until(what: str, holds: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not {what} after {PATIENCE_SECONDS:.0f} s; the controller's log:\n{log.read_text()}"
        time.sleep(0.3)


def test_the_controllers_account_can_start_and_suspend_a_job(cluster: Cluster, log: Path) -> None:
    cluster.kubectl("apply", "--server-side", "--filename", str(REPOSITORY / "manifests/samples/quickstart.yaml"))
    wait_until("started", lambda: bool(cluster.names("rayjobs")), log)
    wait_until("reported", lambda: cluster.kubectl("get", JOB, "--output", "jsonpath={.status.attempts[0].number}") == "1", log)
    wait_until("announced by an event", lambda: bool(cluster.names("events.events.k8s.io")), log)

    cluster.kubectl("patch", JOB, "--type=merge", '--patch={"spec": {"runPolicy": {"suspend": true}}}')
    wait_until("suspended", lambda: not cluster.names("rayjobs"), log)
    assert "forbidden" not in log.read_text().lower()


def test_the_job_gets_an_account_that_may_patch_its_progress_alone(cluster: Cluster, log: Path) -> None:
    cluster.kubectl("apply", "--server-side", "--filename", str(REPOSITORY / "manifests/samples/quickstart.yaml"))
    wait_until("given its rights", lambda: bool(cluster.names("rolebindings")), log)
    [role] = cluster.names("roles")
    verbs = cluster.kubectl("get", role, "--output", "jsonpath={.rules[*].resources} {.rules[*].verbs} {.rules[*].resourceNames}")
    uid = cluster.kubectl("get", JOB, "--output", "jsonpath={.metadata.uid}")
    assert verbs == f'["configmaps"] ["get","patch"] ["{progress_name("quickstart", uid, 1)}"]'


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("watch", "finetunejobs"),
        ("patch", "finetunejobs/status"),
        ("delete", "rayjobs"),
        ("delete", "finetunejobs"),
        ("patch", "configmaps"),
        ("list", "pods"),
    ],
)
def test_the_controllers_account_may(cluster: Cluster, verb: str, resource: str) -> None:
    assert cluster.may(verb, resource)


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("get", "secrets"),
        ("list", "secrets"),
        ("patch", "finetunejobs"),
        ("delete", "persistentvolumeclaims"),
        ("create", "pods"),
        ("delete", "pods"),
        ("create", "pods/exec"),
        ("create", "clusterroles"),
        ("impersonate", "serviceaccounts"),
        ("bind", "roles"),
        ("escalate", "roles"),
    ],
)
def test_the_controllers_account_may_not(cluster: Cluster, verb: str, resource: str) -> None:
    assert not cluster.may(verb, resource)
