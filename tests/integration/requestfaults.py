"""Jobs of one controller, for each of which requests fail in another way over a wire that counts them. Not a test.

Tests: tests/integration/test_request_faults.py, where attempts share an account, as the chart has it, and
test_request_faults_own_accounts.py.
"""

import contextlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from controller.job.objects.form import SHARED_ACCOUNT
from tests.builders import resource
from tests.cluster.api import ApiError
from tests.cluster.controlplane import ControlPlane
from tests.integration.faultywire import Fault, FaultyWire, Matches, status, text
from tests.integration.processes import CLAIM, CLAIMS, CONFIG_MAPS, JOBS, OWN_ACCOUNTS, ROWS, Process, create, wait
from tests.integration.test_outages import RAY_JOBS

RIGHTS_PATH = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/"
CALM, CALM_SUSPENDED = "calm", "still"
SHARED, OWN = "shared account", "own accounts"
SETTINGS: dict[str, dict[str, str]] = {SHARED: {}, OWN: OWN_ACCOUNTS}
PASS_REQUESTS = 14
"""What a pass costs that begins from the first of six objects, five of which it finds created."""
MORE_PASSES = 3
"""Beside one for each fault: what is created wakes the job while its caches lag."""
FOREVER = 10**9
BODY = web.RequestKey("body", str)


def names(job: str, path: str, body: str) -> bool:
    return re.search(rf"\b{job}\b", f"{path} {body}") is not None


def of(job: str, method: str, part: str) -> Matches:
    """Requests of a job: its name is in their path or in what they write."""

    def matches(request: web.Request) -> bool:
        return request.method == method and part in request.path and names(job, request.path, request[BODY])

    return matches


WRONG = {
    "429": {"answer": status(429), "times": 2},
    "429, after a second": {"answer": status(429, retry_after=1)},
    "500": {"answer": status(500), "times": 3},
    "503, a page of HTML": {"answer": text("<html>maintenance</html>", 503), "times": 2},
    "200, an empty object": {"answer": text("{}")},
    "200, cut before the answer": {"loses_answer": True},
    "409": {"answer": status(409, "Conflict"), "times": 2},
}
ROLE = "create of a role"
REQUESTS = {
    "get": ("GET", "/configmaps/rows"),
    "create": ("POST", "/rayjobs"),
    ROLE: ("POST", "/roles"),
    "status": ("PATCH", "/status"),
    "delete": ("DELETE", "/rayjobs"),
}
KINDS = ("429", "500", "200, cut before the answer")
"""What all kinds of requests meet; a create and a status, on which most depends, meet everything."""


@dataclass
class Case:
    """A job and what goes wrong for it."""

    job: str
    fault: Fault
    suspends: bool


def cases(form: str) -> dict[str, Case]:
    """Return all that goes wrong where attempts share an account, and with accounts of their own what their creations meet."""
    chosen = {
        f"{what}: {how}": (what, how)
        for what in REQUESTS
        for how in WRONG
        if (how in KINDS or (what in ("create", "status") and form == SHARED))
        and (what, how) != ("get", "409")
        and (what != ROLE if form == SHARED else what in ("create", ROLE))
    }
    made = {}
    for number, (name, (what, how)) in enumerate(chosen.items()):
        job = f"j{number:02}"
        made[name] = Case(job, Fault(of(job, *REQUESTS[what]), **WRONG[how]), what == "delete")  # type: ignore[arg-type]
    return made


CASES = {form: cases(form) for form in SETTINGS}


class CountingWire(FaultyWire):
    """Keeps what was asked, so that it can be counted by job."""

    def __init__(self, plane: ControlPlane, account: Path, directory: Path, name: str) -> None:
        super().__init__(plane, account, directory, name)
        self.asked: list[tuple[str, str, str]] = []

    async def _instead(self, request: web.Request) -> web.StreamResponse | None:
        request[BODY] = (await request.read()).decode()
        self.asked.append((request.method, request.path, request[BODY]))
        return await super()._instead(request)

    def count(self, job: str, method: str = "", part: str = "") -> int:
        about = [each for each in list(self.asked) if each[0].startswith(method) and part in each[1] and "/events" not in each[1]]
        return sum(names(job, path, body) for _, path, body in about)


ACCOUNTS = "/api/v1/namespaces/{}/serviceaccounts"


@dataclass
class Served:
    """A controller with the jobs of all cases."""

    plane: ControlPlane
    process: Process
    wire: CountingWire
    namespace: str
    since: float = field(default_factory=time.monotonic)

    def get(self, path: str, name: str) -> dict[str, Any] | None:
        try:
            return self.plane.api.get(f"{path.format(self.namespace)}/{name}")
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def state(self, job: str) -> str:
        """What is to be seen of a job and its objects, without times, UIDs and its name."""
        item = self.get(JOBS, job) or {}
        told = item.get("status") or {}
        conditions = [[each["type"], each["status"], each["reason"]] for each in told.get("conditions") or []]
        attempts = [{name: each.get(name) for name in ("number", "state", "reason", "charged")} for each in told.get("attempts") or []]
        ray_job = (self.get(RAY_JOBS, f"{job}-1") or {}).get("spec")
        seen = {
            "phase": told.get("phase"),
            "conditions": sorted(conditions),
            "attempts": attempts,
            "rayJob": ray_job,
            "second": self.get(RAY_JOBS, f"{job}-2") is not None,
            "account": self.get(ACCOUNTS, f"{job}-1") is not None,
            "shared account": self.get(ACCOUNTS, SHARED_ACCOUNT) is not None,
        }
        uid = str((item.get("metadata") or {}).get("uid"))
        text = json.dumps(seen, sort_keys=True, indent=1).replace(uid, "UID").replace(f"rows-{job}", "rows").replace(job, "JOB")
        return text.replace(uid[:8], "UID").replace(self.namespace, "NAMESPACE")

    def settle(self, job: str, like: str, beside: "Served | None" = None) -> None:
        """Wait until a job is where an undisturbed one is, which may be in the namespace of another."""
        state, calm = "", ""

        def same() -> bool:
            nonlocal state, calm
            state, calm = self.state(job), (beside or self).state(like)
            return state == calm

        with contextlib.suppress(AssertionError):
            wait(same, f"{job} like {like}; the log is {self.process.log}")
        assert state == calm, self.process.log


def job_with_rows(name: str) -> dict[str, Any]:
    return resource(name, data={"train": [{"configMap": {"name": f"rows-{name}", "key": "train.jsonl"}}]})


@contextlib.contextmanager
def serving(form: str, plane: ControlPlane, account: Path, directory: Path, namespace: str) -> Iterator[Served]:
    """Run a controller with a job for each case of this form, and with undisturbed ones."""
    cases = CASES[form].values()
    plane.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    create(plane, namespace, CLAIMS, CLAIM)
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(CountingWire(plane, account, directory, "faulty"))
        process = Process(wire.kubeconfig, directory, "faulty", **SETTINGS[form])
        stack.callback(process.end)
        served = Served(plane, process, wire, namespace)
        wait(process.leads, "leading")
        for job in (CALM, CALM_SUSPENDED, "stuck", *(case.job for case in cases)):
            rows = {**ROWS, "metadata": {"name": f"rows-{job}"}}
            create(plane, namespace, CONFIG_MAPS, rows)
        wire.faults = [each.fault for each in cases]
        for job in (CALM, CALM_SUSPENDED, *(case.job for case in cases)):
            create(plane, namespace, JOBS, job_with_rows(job))
        for job in (CALM, CALM_SUSPENDED):
            wait(lambda job=job: served.get(RAY_JOBS, f"{job}-1") is not None, f"{job} runs")  # type: ignore[misc]
        # A RayJob is deleted when its job is suspended.
        suspended = [CALM_SUSPENDED, *(case.job for case in cases if case.suspends)]
        for job in suspended:
            served.settle(job, CALM)
        for job in suspended:
            path = f"{JOBS.format(namespace)}/{job}"
            plane.api.request("PATCH", path, {"spec": {"runPolicy": {"suspend": True}}}, "application/merge-patch+json")
        wait(lambda: served.get(RAY_JOBS, f"{CALM_SUSPENDED}-1") is None, "the undisturbed job is suspended")
        yield served
    plane.api.request("DELETE", JOBS.format(namespace))  # the next controller would look at them first


def check(served: Served, case: Case) -> None:
    """Fail unless the case's requests failed, its job is where an undisturbed one is, and that took few requests."""
    like = CALM_SUSPENDED if case.suspends else CALM
    served.settle(case.job, like)

    assert case.fault.injected == case.fault.times, "the fault never happened, or not often enough"
    attempts = (served.get(JOBS, case.job) or {})["status"]["attempts"]
    assert [each["number"] for each in attempts] == [1]
    asked, calm = served.wire.count(case.job), served.wire.count(like)
    assert asked <= calm + (case.fault.times + MORE_PASSES) * PASS_REQUESTS
    assert served.process.process.poll() is None
