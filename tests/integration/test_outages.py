"""After the API server, the way to it, or the controller itself was gone for a while: how soon new jobs are served."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builders import resource
from tests.cluster.controlplane import ControlPlane
from tests.integration.processes import CLAIM, CLAIMS, CONFIG_MAPS, JOBS, ROWS, Process, create, reason_of, wait
from tests.integration.wire import Wire

RAY_JOBS = "/apis/ray.io/v1/namespaces/{}/rayjobs"

pytestmark = [pytest.mark.integration, pytest.mark.fault]

JOBS_BEFORE = 20
BUSY_JOBS = 4
"""They are looked at side by side, and each may leave an idle connection behind."""
OUTAGE_SECONDS = 20.0
"""Long enough for the lease to be lost, for an outage to be noticed, and for back-offs to grow beyond the bound."""
SHORT_SECONDS = 3.0
"""Too short for idle connections to be dropped for their age: they are still in the pool, and dead."""
BOUND_SECONDS = 15.0

Served = tuple[Process, Wire, str]


@pytest.fixture(scope="module")
def served(control_plane: ControlPlane, account: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A controller that has jobs already."""
    directory, namespace = tmp_path_factory.mktemp("served"), f"outage-{os.getpid()}"
    control_plane.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    create(control_plane, namespace, CONFIG_MAPS, ROWS)
    create(control_plane, namespace, CLAIMS, CLAIM)
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(Wire(control_plane, account, directory, "only"))
        process = Process(wire.kubeconfig, directory, "only")
        stack.callback(process.end)
        wait(process.leads, "leading")
        keep_busy(control_plane, namespace, "before", JOBS_BEFORE)
        yield process, wire, namespace


def keep_busy(plane: ControlPlane, namespace: str, name: str, count: int) -> None:
    """Have jobs looked at that wait for a claim."""
    for number in range(count):
        lacking = {"output": {"persistentVolumeClaim": {"claimName": "later"}}}
        create(plane, namespace, JOBS, resource(f"{name}-{number}", **lacking))
    wait(lambda: reason_of(plane, namespace, f"{name}-{count - 1}", "Accepted") is not None, "the last is served")


def lose_the_way(plane: ControlPlane, served: Served) -> Callable[[], None]:
    served[1].cut()
    return served[1].reconnect


def lose_the_connections(plane: ControlPlane, served: Served) -> Callable[[], None]:
    served[1].forget()
    return lambda: None


def pause_the_server(plane: ControlPlane, served: Served) -> Callable[[], None]:
    server = plane.processes.identity("kube-apiserver").pid
    os.kill(server, signal.SIGSTOP)
    return lambda: os.kill(server, signal.SIGCONT)


def end_the_server(plane: ControlPlane, served: Served) -> Callable[[], None]:
    plane.stop_apiserver()
    return plane.start_apiserver


def pause_the_controller(plane: ControlPlane, served: Served) -> Callable[[], None]:
    served[0].process.send_signal(signal.SIGSTOP)
    return lambda: served[0].process.send_signal(signal.SIGCONT)


OUTAGES = [
    pytest.param(lose_the_way, OUTAGE_SECONDS, id="the way is lost"),
    pytest.param(lose_the_way, SHORT_SECONDS, id="the way is lost for a moment"),
    pytest.param(lose_the_connections, 0.0, id="connections die silently"),
    pytest.param(end_the_server, OUTAGE_SECONDS, id="the server ends"),
    # Each costs half a minute or more, and they delay less than the others.
    pytest.param(pause_the_server, OUTAGE_SECONDS, id="the server is paused", marks=pytest.mark.slow),
    pytest.param(lose_the_way, 120.0, id="half-open for two minutes", marks=pytest.mark.slow),
    pytest.param(pause_the_controller, OUTAGE_SECONDS, id="the controller is paused", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("begin", "seconds"), OUTAGES)
def test_a_job_that_is_created_after_an_outage_gets_its_first_child_soon(
    control_plane: ControlPlane,
    served: Served,
    request: pytest.FixtureRequest,
    begin: Callable[[ControlPlane, Served], Callable[[], None]],
    seconds: float,
) -> None:
    process, _, namespace = served
    name = request.node.callspec.id.replace(" ", "-")
    wait(process.leads, "leading")
    keep_busy(control_plane, namespace, f"{name}-busy", BUSY_JOBS)
    end = begin(control_plane, served)
    try:
        time.sleep(seconds)
    finally:
        end()
    create(control_plane, namespace, JOBS, resource(name))
    first_child = f"{RAY_JOBS.format(namespace)}/{name}-1"
    wait(lambda: control_plane.api.exists(first_child), f"a child; the log is {process.log}", seconds=BOUND_SECONDS)
    assert process.process.poll() is None
