"""What the API server refuses to a controller's jobs: how often it is asked again, and how soon they start when it gives way."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import resource
from tests.cluster.controlplane import ControlPlane
from tests.integration.processes import CLAIM, CLAIMS, CONFIG_MAPS, JOBS, ROWS, Process, create, reason_of, wait
from tests.integration.wire import Wire

pytestmark = pytest.mark.integration

JOBS_EACH = 5
WINDOW_SECONDS = 25.0
ASKED_AT_MOST = 4
"""Times that each job asks in the window: after about 5, 10 and 20 s, and one to spare."""
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
RAY_JOBS = "/apis/ray.io/v1/namespaces/{}/rayjobs"
EVENTS = "/apis/events.k8s.io/v1/namespaces/{}/events"
QUOTAS = "/api/v1/namespaces/{}/resourcequotas"
QUOTA = {"metadata": {"name": "none"}, "spec": {"hard": {"count/rayjobs.ray.io": "0"}}}


@pytest.fixture
def controller(control_plane: ControlPlane, account: Path, tmp_path: Path) -> Iterator[tuple[Process, Wire]]:
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(Wire(control_plane, account, tmp_path, "only"))
        process = Process(wire.kubeconfig, tmp_path, "only")
        stack.callback(process.end)
        wait(process.leads, "leading")
        yield process, wire


def namespace_of(plane: ControlPlane, name: str) -> str:
    plane.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    create(plane, name, CONFIG_MAPS, ROWS)
    create(plane, name, CLAIMS, CLAIM)
    return name


def refuse_in(plane: ControlPlane, namespace: str) -> None:
    """A policy of the administrator that allows no RayJobs in a namespace."""
    rules = [{"apiGroups": ["ray.io"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["rayjobs"]}]
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": rules},
        "validations": [{"expression": "false", "message": "no training on Fridays"}],
    }
    plane.api.request("POST", POLICIES, {"metadata": {"name": namespace}, "spec": spec})
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    binding = {"policyName": namespace, "validationActions": ["Deny"], "matchResources": selector}
    plane.api.request("POST", BINDINGS, {"metadata": {"name": namespace}, "spec": binding})


def count_in(plane: ControlPlane, namespace: str) -> None:
    """A quota that allows no RayJobs, and counts them.

    The cluster learns of a kind half a minute after its definition, and looks at a quota when it is created and then after
    minutes: the quota is created again until it counts.
    """
    path = QUOTAS.format(namespace) + "/none"

    def counts() -> bool:
        return bool(plane.api.get(path).get("status", {}).get("used"))

    for _ in range(30):
        create(plane, namespace, QUOTAS, QUOTA)
        with contextlib.suppress(AssertionError):
            wait(counts, "the quota counts", seconds=3)
            return
        plane.api.request("DELETE", path)
    raise AssertionError("the quota does not count RayJobs")


def started(plane: ControlPlane, namespace: str) -> Callable[[], bool]:
    def all_started() -> bool:
        items = plane.api.get(RAY_JOBS.format(namespace))["items"]
        return sum(bool(item["metadata"].get("ownerReferences")) for item in items) == JOBS_EACH

    return all_started


def test_refused_jobs_ask_seldom_say_why_and_start_soon_after_the_cause_is_gone(
    control_plane: ControlPlane, controller: tuple[Process, Wire], namespace: str
) -> None:
    _, wire = controller
    taken, quota, policy = (namespace_of(control_plane, f"{namespace}-{name}") for name in ("taken", "quota", "policy"))
    count_in(control_plane, quota)
    refuse_in(control_plane, policy)
    names = [f"bot-{number}" for number in range(JOBS_EACH)]
    for name in names:
        create(control_plane, taken, RAY_JOBS, foreign(f"{name}-1"))
    wait(lambda: refuses(control_plane, policy), "the policy refuses")
    for name in names:
        for where in (taken, quota, policy):
            create(control_plane, where, JOBS, resource(name))
    reasons = {taken: "NameTaken", quota: "QuotaExceeded", policy: "CreationFailed"}
    for where, reason in reasons.items():
        for name in names:
            says = lambda where=where, name=name, reason=reason: reason_of(control_plane, where, name, "Running") == reason  # noqa: E731
            wait(says, f"{where}/{name} says {reason}")
    # The last condition's Event follows its status.
    wait(lambda: all(recorded(control_plane, *each) >= set(names) for each in reasons.items()), "all Events are written")

    begin = time.monotonic()
    time.sleep(WINDOW_SECONDS)
    own = [f"/namespaces/{where}/" for where in (taken, quota, policy)]  # other tests' jobs wait on the same server
    sent = [each for each in wire.between(begin, time.monotonic()) if any(where in each.path for where in own)]
    assert len(sent) <= ASKED_AT_MOST * 3 * JOBS_EACH, wire.summary(begin, time.monotonic())
    assert {(each.method, each.kind, "dryRun" in each.query) for each in sent} <= {
        ("GET", "rayjobs", False),
        ("POST", "rayjobs", True),
        ("PATCH", "finetunejobs/status", False),
    }

    control_plane.api.request("DELETE", f"{QUOTAS.format(quota)}/none")
    wait(started(control_plane, quota), "started after the quota has gone", seconds=20)
    for name in names:
        control_plane.api.request("DELETE", f"{RAY_JOBS.format(taken)}/{name}-1")
    control_plane.api.request("DELETE", f"{BINDINGS}/{policy}")
    wait(started(control_plane, policy), "started after the policy has gone", seconds=90)
    wait(started(control_plane, taken), "started after the names are free", seconds=90)


def recorded(plane: ControlPlane, namespace: str, reason: str) -> set[str]:
    """Return the jobs with an Event of this reason."""
    events = plane.api.get(EVENTS.format(namespace))["items"]
    return {each["regarding"]["name"] for each in events if each["reason"] == reason}


def foreign(name: str) -> dict[str, Any]:
    """Somebody else's RayJob."""
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": name}, "spec": {"suspend": True, "rayClusterSpec": CLUSTER}}


CLUSTER = {"headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "head", "image": "x"}]}}}}


def refuses(plane: ControlPlane, namespace: str) -> bool:
    """Policies take a moment to work."""
    try:
        plane.api.request("POST", RAY_JOBS.format(namespace) + "?dryRun=All", foreign("probe"))
    except RuntimeError as error:
        return "Fridays" in str(error)
    return False
