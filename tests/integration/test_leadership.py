"""Two controllers as processes on the real API server: what is done to their Lease or to them lets no two act at once.

Every write of each goes over a wire of its own that records it; a write counts as acting, whatever a process says of itself.
"""

import contextlib
import itertools
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from controller.kinds import QUEUE_LABEL
from tests.builders import resource
from tests.cluster import audit
from tests.cluster.api import ApiError
from tests.cluster.controlplane import ControlPlane
from tests.integration.processes import (
    CLAIM,
    CLAIMS,
    CONFIG_MAPS,
    JOBS,
    LEASE,
    LEASE_SECONDS,
    RAY_JOBS,
    ROWS,
    Process,
    create,
    wait,
)
from tests.integration.wire import Wire

pytestmark = [pytest.mark.integration, pytest.mark.fault]

WATCH_SECONDS = 3 * LEASE_SECONDS
PULSE_SECONDS = 0.25


@dataclass
class Replica:
    """A controller, the wire that it uses, and when it said that it leads."""

    process: Process
    wire: Wire
    said: list[tuple[float, float]]
    """Begin and end of each question that it answered with yes."""

    @property
    def acted(self) -> list[float]:
        """When it wrote anything but the Lease and got it done."""
        return [each.at for each in list(self.wire.sent) if each.writes and not each.elects and 200 <= each.status < 300]


Pair = tuple[Replica, Replica]


@pytest.fixture(scope="module")
def pair(control_plane: ControlPlane, account: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two controllers that stay for all tests: whoever leads is another one each time."""
    directory = tmp_path_factory.mktemp("pair")
    with contextlib.ExitStack() as stack:
        replicas = []
        for name in ("first", "second"):
            wire = stack.enter_context(Wire(control_plane, account, directory, name))
            process = Process(wire.kubeconfig, directory, name)
            stack.callback(process.end)
            replicas.append(Replica(process, wire, []))
        for replica in replicas:
            wait(replica.process.ready, f"ready; its log is {replica.process.log}")
        yield replicas[0], replicas[1]


def roles(pair: Pair) -> Pair:
    """Who leads, and who stands by."""
    wait(lambda: pair[0].process.leads() or pair[1].process.leads(), f"one leads; the logs are beside {pair[0].process.log}")
    return pair if pair[0].process.leads() else (pair[1], pair[0])


class Work:
    """Makes the leader write: jobs that have all that they name, so that each starts its first attempt.

    `held`: in a queue that nobody admits from, so that KubeRay leaves their RayJobs alone.
    """

    def __init__(self, plane: ControlPlane, namespace: str, *, held: bool = False) -> None:
        self.plane, self.namespace, self.count = plane, namespace, 0
        self._labels = {QUEUE_LABEL: "nobody"} if held else {}
        create(plane, namespace, CLAIMS, CLAIM)
        create(plane, namespace, CONFIG_MAPS, ROWS)

    def give(self) -> None:
        self.count += 1
        job = resource(f"work-{self.count}")
        create(self.plane, self.namespace, JOBS, {**job, "metadata": {**job["metadata"], "labels": self._labels}})

    def is_handled(self) -> bool:
        """Whether the newest job was handled."""
        item = self.plane.api.get(f"{JOBS.format(self.namespace)}/work-{self.count}")
        return bool((item.get("status") or {}).get("conditions"))

    def attempts(self) -> dict[str, list[int]]:
        """The numbers of the attempts that the status of each job lists."""
        items = self.plane.api.get(JOBS.format(self.namespace))["items"]
        listed = {item["metadata"]["name"]: (item.get("status") or {}).get("attempts") or [] for item in items}
        return {name: [each["number"] for each in attempts] for name, attempts in listed.items()}

    def ray_jobs(self) -> list[str]:
        return sorted(item["metadata"]["name"] for item in self.plane.api.get(RAY_JOBS.format(self.namespace))["items"])

    def was_done_once(self) -> None:
        """Fail unless each job comes to one attempt with one RayJob, which was created once: the audit log also has those that are gone."""
        jobs = [f"work-{number}" for number in range(1, self.count + 1)]
        wanted = sorted(f"{job}-1" for job in jobs)
        wait(lambda: set(wanted) <= set(self.ray_jobs()), "each job has started")
        assert self.ray_jobs() == wanted
        assert self.attempts() == {job: [1] for job in jobs}
        created = Counter(
            each.name
            for each in audit.writes(self.plane.directory)
            if (each.verb, each.resource, each.namespace) == ("create", "rayjobs", self.namespace)
        )
        assert created == Counter(wanted)


def edit(plane: ControlPlane, **spec: Any) -> None:
    plane.api.request("PATCH", LEASE, {"spec": spec}, "application/merge-patch+json")


def restore(plane: ControlPlane, **spec: Any) -> None:
    """Put a copy in its place that carries all that the old one did, as a backup tool does."""
    old = plane.api.get(LEASE)
    plane.api.request("DELETE", LEASE)
    annotations = {"finetune.dev/released-lease": old["metadata"]["uid"]}
    metadata = {"name": old["metadata"]["name"], "namespace": old["metadata"]["namespace"], "annotations": annotations}
    copy = {"apiVersion": old["apiVersion"], "kind": old["kind"], "metadata": metadata, "spec": {**old["spec"], **spec}}
    with contextlib.suppress(ApiError):  # a controller was faster
        plane.api.request("POST", LEASE.rpartition("/")[0], copy)


def identity(replica: Replica) -> str:
    """Its name in the Lease, which is in its log."""
    return str(next(each["identity"] for each in replica.process.records() if "identity" in each))


Meddle = Callable[[ControlPlane, Replica, Replica], Any]

MEDDLING: dict[str, Meddle] = {
    "deleted": lambda plane, leader, standby: plane.api.request("DELETE", LEASE),
    "given to nobody": lambda plane, leader, standby: edit(plane, holderIdentity="ghost", leaseDurationSeconds=1),
    "given to the standby": lambda plane, leader, standby: edit(plane, holderIdentity=identity(standby)),
    "emptied": lambda plane, leader, standby: edit(plane, holderIdentity="", leaseDurationSeconds=1),
    "released copy restored": lambda plane, leader, standby: restore(plane, holderIdentity=""),
    "leader paused": lambda plane, leader, standby: leader.process.process.send_signal(signal.SIGSTOP),
    "leader cut off": lambda plane, leader, standby: leader.wire.cut(),
}


MARKED = [
    pytest.param(meddle, id=name, marks=() if name in ("deleted", "leader cut off", "leader paused") else pytest.mark.slow)
    for name, meddle in MEDDLING.items()
]
"""The other kinds of meddling are tried in virtual time too, in test_elector_meddling.py."""


@pytest.mark.parametrize("meddle", MARKED)
def test_two_controllers_never_act_at_once(control_plane: ControlPlane, pair: Pair, namespace: str, meddle: Meddle) -> None:
    leader, standby = roles(pair)
    work = Work(control_plane, namespace, held=True)
    work.give()
    wait(work.is_handled, "the first job was handled")

    began = time.monotonic()
    meddle(control_plane, leader, standby)
    end = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < end:
        work.give()
        for each in pair:
            asked = time.monotonic()
            if each.process.leads(timeout_seconds=PULSE_SECONDS):
                each.said.append((asked, time.monotonic()))
        time.sleep(PULSE_SECONDS)
    leader.process.process.send_signal(signal.SIGCONT)
    leader.wire.reconnect()
    work.give()
    wait(work.is_handled, "the newest job was handled after all is well again")
    time.sleep(PULSE_SECONDS)

    turns = sorted((at, each.process.log.name) for each in pair for at in each.acted if at > began)
    assert turns, "nobody acted"
    changes = sum(one[1] != other[1] for one, other in itertools.pairwise(turns))
    assert changes <= 1, f"they took turns: {turns}"
    for (a, b), (c, d) in ((one, other) for one in leader.said for other in standby.said):
        assert b < c or d < a, "both said that they lead"
    work.was_done_once()
    control_plane.api.request("DELETE", JOBS.format(namespace))  # the next one to lead would look at them first
