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

pytestmark = pytest.mark.integration

JOBS_BEFORE = 20
OUTAGE_SECONDS = 20.0
"""Long enough for the lease to be lost, for an outage to be noticed, and for back-offs to grow beyond the bound."""
BOUND_SECONDS = 15.0

Served = tuple[Process, Wire, str]


@pytest.fixture(scope="module")
def served(control_plane: ControlPlane, account: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A controller that has jobs already; they wait for a claim."""
    directory, namespace = tmp_path_factory.mktemp("served"), f"outage-{os.getpid()}"
    control_plane.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    create(control_plane, namespace, CONFIG_MAPS, ROWS)
    create(control_plane, namespace, CLAIMS, CLAIM)
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(Wire(control_plane, account, directory, "only"))
        process = Process(wire.kubeconfig, directory, "only")
        stack.callback(process.end)
        wait(process.leads, "leading")
        for number in range(JOBS_BEFORE):
            lacking = {"output": {"persistentVolumeClaim": {"claimName": "later"}}}
            create(control_plane, namespace, JOBS, resource(f"before-{number}", **lacking))
        wait(lambda: reason_of(control_plane, namespace, f"before-{JOBS_BEFORE - 1}", "Accepted") is not None, "the last is served")
        yield process, wire, namespace


def lose_the_way(plane: ControlPlane, served: Served) -> Callable[[], None]:
    served[1].cut()
    return served[1].reconnect


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


SLOW = [pytest.param(begin, marks=pytest.mark.slow) for begin in (pause_the_server, pause_the_controller)]
"""Outages that cost half a minute each and delay less than the others."""


@pytest.mark.parametrize("begin", [lose_the_way, end_the_server, *SLOW])
def test_a_job_that_is_created_after_an_outage_gets_its_first_child_soon(
    control_plane: ControlPlane, served: Served, begin: Callable[[ControlPlane, Served], Callable[[], None]]
) -> None:
    process, _, namespace = served
    wait(process.leads, "leading")
    end = begin(control_plane, served)
    try:
        time.sleep(OUTAGE_SECONDS)
    finally:
        end()
    name = f"after-{begin.__name__.replace('_', '-')}"
    create(control_plane, namespace, JOBS, resource(name))
    first_child = f"{RAY_JOBS.format(namespace)}/{name}-1"
    wait(lambda: control_plane.api.exists(first_child), f"a child; the log is {process.log}", seconds=BOUND_SECONDS)
    assert process.process.poll() is None
