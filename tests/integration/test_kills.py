"""The controller's process is killed with SIGKILL at a write, before the API server sees it or before the answer comes; another one is
started, and the job ends as one whose controller lived: one RayJob, one attempt, no second child.

tests/controller/job/test_crashes.py tries every write of longer lives, in memory.
"""

import contextlib
import itertools
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.job.objects.form import SHARED_ACCOUNT
from tests.builders import resource
from tests.cluster.controlplane import ControlPlane
from tests.integration.faultywire import abort
from tests.integration.processes import CLAIM, CLAIMS, CONFIG_MAPS, JOBS, ROWS, Process, create, wait
from tests.integration.test_outages import RAY_JOBS
from tests.integration.wire import Sent, Wire

pytestmark = [pytest.mark.integration, pytest.mark.fault]

RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/"
CHILDREN = (RAY_JOBS, "/api/v1/namespaces/{}/serviceaccounts", f"{RBAC}roles", f"{RBAC}rolebindings")
WRITES = ["finetunejobs/status", "serviceaccounts", "roles", "rolebindings", "rayjobs", "finetunejobs/status"]
"""Of a job that starts in a namespace without an account, in this order."""
QUICK = {(5, True), (6, False)}
"""The RayJob is there and nobody has heard of it: what would cost most if it were created twice."""


class KillingWire(Wire):
    """Kills the process at its write number `at` in a namespace, counted from when it is armed."""

    victim: Process
    namespace, at, answered = "", 0, False
    killed_at = ""

    def arm(self, namespace: str, at: int, *, answered: bool) -> None:
        self.killed_at, self.namespace, self.at, self.answered = "", namespace, at, answered

    async def _instead(self, request: web.Request) -> web.StreamResponse | None:
        written = Sent(time.monotonic(), request.method, request.path, request.query_string)
        if not (self.at and written.writes and f"/namespaces/{self.namespace}/" in request.path and written.kind != "events"):
            return None
        self.at -= 1
        if self.at:
            return None
        self.killed_at = written.kind
        if self.answered:
            request[STRUCK] = True
            return None
        return self._kill(request)

    async def _answered(self, request: web.Request) -> None:
        if request.get(STRUCK):
            self._kill(request)

    def _kill(self, request: web.Request) -> web.Response:
        self.victim.process.kill()
        abort(request)
        return web.Response(status=502)


STRUCK = web.RequestKey("struck", bool)


class Place:
    """The API server, the way to it, and the controllers that follow each other on it."""

    def __init__(self, plane: ControlPlane, wire: KillingWire, directory: Path) -> None:
        self.plane, self.wire, self._directory, self._numbers = plane, wire, directory, itertools.count()

    def start(self) -> None:
        """Start a controller, which waits for the lease of the one before."""
        self.wire.victim = Process(self.wire.kubeconfig, self._directory, f"life-{next(self._numbers)}")

    def begin(self) -> str:
        """Return a new namespace with all that a job needs."""
        namespace = f"kills-{uuid.uuid4().hex[:8]}"
        self.plane.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        create(self.plane, namespace, CONFIG_MAPS, ROWS)
        create(self.plane, namespace, CLAIMS, CLAIM)
        return namespace

    def is_killed(self) -> bool:
        return self.wire.victim.process.poll() is not None

    def succeed(self, namespace: str) -> None:
        """Play KubeRay, whose RayJob succeeds."""
        path = f"{RAY_JOBS.format(namespace)}/bot-1/status"
        ended = {"status": {"jobStatus": "SUCCEEDED", "jobDeploymentStatus": "Complete"}}
        self.plane.api.request("PATCH", path, ended, "application/merge-patch+json")

    def status(self, namespace: str) -> dict[str, Any]:
        return self.plane.api.get(f"{JOBS.format(namespace)}/bot").get("status") or {}

    def end_state(self, namespace: str) -> dict[str, Any]:
        """What is left, without times."""
        told = self.status(namespace)
        facts = ("number", "rayJobName", "outcome", "reason")
        children = {path: self.plane.api.get(path.format(namespace))["items"] for path in CHILDREN}
        posts = [each for each in self.wire.sent if each.method == "POST" and each.path == RAY_JOBS.format(namespace)]
        return {
            "phase": told["phase"],
            "conditions": sorted((each["type"], each["status"], each["reason"]) for each in told["conditions"]),
            "attempts": [{fact: each.get(fact) for fact in facts} for each in told["attempts"]],
            "children": {path: sorted(each["metadata"]["name"] for each in items) for path, items in children.items()},
            "RayJobs made": sum(each.writes and each.status == 201 for each in posts),
        }

    def live(self, killed_at: int | None = None, *, answered: bool = False) -> dict[str, Any]:
        """Return the end of a job, whose controller is killed at a write; 0: at the first one after its RayJob has ended."""
        namespace = self.begin()
        if killed_at:
            self.wire.arm(namespace, killed_at, answered=answered)
        create(self.plane, namespace, JOBS, resource("bot"))
        if killed_at:
            wait(self.is_killed, f"killed; the log is {self.wire.victim.log}")
            assert self.wire.killed_at == WRITES[killed_at - 1]
            self.start()
        seen = f"the RayJob is seen; the log is {self.wire.victim.log}"
        wait(lambda: "startTime" in (self.status(namespace).get("attempts") or [{}])[0], seen)
        if killed_at == 0:
            self.wire.arm(namespace, 1, answered=answered)
        self.succeed(namespace)
        if killed_at == 0:
            wait(self.is_killed, f"killed; the log is {self.wire.victim.log}")
            assert self.wire.killed_at == "finetunejobs/status"
            self.start()
        wait(lambda: self.status(namespace).get("phase") == "Succeeded", f"succeeded; the log is {self.wire.victim.log}")
        return self.end_state(namespace)


@pytest.fixture(scope="module")
def place(control_plane: ControlPlane, account: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("kills")
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(KillingWire(control_plane, account, directory, "kills"))
        place = Place(control_plane, wire, directory)
        place.start()
        stack.callback(lambda: wire.victim.end())
        wait(wire.victim.leads, "leading")
        yield place


@pytest.fixture(scope="module")
def undisturbed(place: Place) -> dict[str, Any]:
    """How a job ends whose controller lives."""
    state = place.live()
    assert state["attempts"] == [{"number": 1, "rayJobName": "bot-1", "outcome": "Succeeded", "reason": "Succeeded"}]
    assert list(state["children"].values()) == [["bot-1"], ["default", SHARED_ACCOUNT], [SHARED_ACCOUNT], [SHARED_ACCOUNT]]
    assert state["RayJobs made"] == 1
    return state


POINTS = [
    pytest.param(
        at, answered, id=f"{what}-{'answer' if answered else 'request'}", marks=() if (at, answered) in QUICK else pytest.mark.slow
    )
    for at, what in [*enumerate((f"{number}-{kind}" for number, kind in enumerate(WRITES, 1)), 1), (0, "the end")]
    for answered in (False, True)
]


@pytest.mark.parametrize(("at", "answered"), POINTS)
def test_a_job_whose_controller_is_killed_at_a_write_ends_as_if_it_had_lived(
    place: Place, undisturbed: dict[str, Any], at: int, answered: bool
) -> None:
    assert place.live(at, answered=answered) == undisturbed
