"""Whole lives of a job, in which the controller may die at any of its writes and another process goes on. Not a test.

KubeRay, the trainer and the user do what the objects on the server say, so that a crash changes nothing about them.
Tests: tests/controller/job/test_crashes.py.
"""

import copy
import json
from collections import Counter
from datetime import datetime, timedelta
from typing import Any, ClassVar

from controller.job.names import attempt_of_ray_job, progress_name
from controller.job.objects.form import SHARED_ACCOUNT
from controller.job.objects.policy import BINDINGS, POLICIES, binding, policy
from controller.kinds import FINE_TUNE_JOBS, QUEUE_LABEL, RAY_JOBS, WORKLOADS
from controller.runtime.client import Client
from controller.runtime.errors import KubeError
from controller.runtime.resources import CONFIG_MAPS, PODS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, KubeObject
from controller.runtime.transport import Request, Response
from tests.builders import REMOVED, changed
from tests.controller.job.builders import NOW, UID, Settings, record_text
from tests.controller.job.world import World
from tests.fakes import FakeApi

KINDS = (RAY_JOBS, CONFIG_MAPS, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS)
STEPS = 300
TTL = {"ttlSecondsAfterFinished": 30}
SETTINGS = {"own accounts": Settings(), "shared account": Settings(driver_policy="ours")}
"""The two forms of an attempt: with an account of its own, and as the chart installs it."""


class KilledError(BaseException):
    """The process is gone: nothing catches it."""


class Dying:
    """The way to an API server, on which the process dies at its write number `at`: before it is sent, or before the answer comes."""

    def __init__(self, api: FakeApi, at: int | None, *, answered: bool) -> None:
        self._api, self._at, self._answered = api, at, answered
        self.writes: list[str] = []
        self.created = Counter[str]()
        """How often an object of this kind and name was made."""

    async def send(self, request: Request) -> Response:
        if request.method == "GET" or "dryRun" in request.query:
            return await self._api.send(request)
        self.writes.append(f"{request.method} {request.path}")
        dies = len(self.writes) == self._at
        if dies and not self._answered:
            raise KilledError
        response = await self._api.send(request)
        if request.method == "POST" and response.status == 201:
            self.created[f"{request.path.rsplit('/', 1)[-1]}/{request.body['metadata']['name']}"] += 1
        if dies:
            raise KilledError
        return response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)


class Life:
    """A job and all that acts on it. Its first attempt fails, the second is suspended and resumed, the third succeeds."""

    POLICY: ClassVar[dict[str, Any]] = TTL
    LONGEST_PAUSE = 60.0
    WRITES = 28
    """At least so many has a life, in either form."""
    MADE_AGAIN: ClassVar[frozenset[str]] = frozenset()
    """What is rightly made more than once."""

    def __init__(self, form: str = "own accounts", at: int | None = None, *, answered: bool = False) -> None:
        self.world, self.settings = World(runPolicy=self.POLICY), SETTINGS[form]
        self.world.api.put(POLICIES, copy.deepcopy(policy("ours")))
        self.world.api.put(BINDINGS, copy.deepcopy(binding("ours")))
        self.travel_by(Dying(self.world.api, at, answered=answered))
        self.alive_at_once = 0
        self.last: dict[str, Any] = {}
        self.others_begin()

    def travel_by(self, transport: Dying) -> None:
        """Let the controller reach the API server in this way."""
        self.transport = transport
        self.world.client = Client(transport, field_manager="test")
        self.world.restart(self.settings)

    async def live(self) -> None:
        """Let everybody act in turn until the job is gone."""
        for _ in range(STEPS):
            self.others_act()
            again: float | None = 1.0
            try:
                again = await self.world.step()
            except KilledError:
                self.world.restart(self.settings)
            except KubeError:
                pass
            if not self.world.api.objects(FINE_TUNE_JOBS):
                return
            self.last = self.world.status
            ended = ("Complete", "Failed")
            alive = [each for each in self.ray_jobs() if (each.get("status") or {}).get("jobDeploymentStatus") not in ended]
            self.alive_at_once = max(self.alive_at_once, len(alive))
            self.world.now += timedelta(seconds=max(1.0, min(again or 1.0, self.LONGEST_PAUSE)))
        raise AssertionError(f"the job never ends: {self.last}")

    def end_state(self) -> dict[str, Any]:
        """What is left, without times, and without words that name them."""
        facts = ("number", "rayJobName", "outcome", "reason", "lastStep", "jobReason")
        reports = self.world.api.objects(CONFIG_MAPS)
        return {
            "attempts": [{fact: each.get(fact) for fact in facts} for each in self.last["attempts"]],
            "conditions": [(each["type"], each["status"], each["reason"]) for each in self.last["conditions"]],
            "phase": self.last["phase"],
            "children": sorted(f"{kind}/{item['metadata']['name']}" for kind in KINDS for item in self.world.api.objects(kind)),
            "unsound": sorted(each["metadata"]["name"] for each in reports if each["metadata"].get("finalizers")),
        }

    def made_twice(self) -> set[str]:
        """Return what was made more than once, for no reason."""
        return {what for what, count in self.transport.created.items() if count > 1} - self.MADE_AGAIN

    # What the others do.

    def others_begin(self) -> None:
        """Prepare what is there before the controller looks for the first time."""

    def others_act(self) -> None:
        """KubeRay runs what is there, the trainer reports, and the user suspends the second attempt and resumes the job when it rests."""
        for item in self.ray_jobs():
            number = self.number(item)
            if self.runs(item) and self.reports(number):
                self.ends(item, {1: ("FAILED", "Failed", "Job entrypoint command failed with exit code -9"),
                                 3: ("SUCCEEDED", "Complete", "")}.get(number))  # fmt: skip
        self.pods_go()
        status, run_policy = self.world.status, self.world.api.objects(FINE_TUNE_JOBS)[0]["spec"]["runPolicy"]
        second = (status.get("attempts") or [])[1:2]
        if second and not run_policy.get("suspend") and "outcome" not in second[0] and second[0].get("lastStep"):
            self.world.change_job({"runPolicy": {**run_policy, "suspend": True}})
        rests = [each for each in status.get("conditions") or [] if each["type"] == "Suspended" and each["message"].startswith("no pods")]
        if run_policy.get("suspend") and rests and not self.ray_jobs()[1:]:
            self.world.change_job({"runPolicy": {**run_policy, "suspend": False}})

    def ray_jobs(self) -> list[KubeObject]:
        return self.world.api.objects(RAY_JOBS)

    def number(self, ray_job: KubeObject) -> int:
        return attempt_of_ray_job(ray_job["metadata"]["name"], "bot") or 0

    def attempt(self, number: int) -> dict[str, Any]:
        return next((each for each in self.world.status.get("attempts") or [] if each["number"] == number), {})

    def cluster(self, number: int) -> str:
        """Return the name of the Ray cluster that an attempt gets next, or has."""
        return f"bot-{number}-c"

    def runs(self, item: KubeObject) -> bool:
        """Let KubeRay begin with a RayJob that is new; return whether one runs for a while."""
        name, state = item["metadata"]["name"], item.get("status") or {}
        if state.get("jobDeploymentStatus", "Suspended") == "Suspended" and not item["spec"].get("suspend"):
            cluster = self.cluster(self.number(item))
            running = {"jobStatus": "RUNNING", "jobDeploymentStatus": "Running", "rayClusterName": cluster}
            self.world.api.put(RAY_JOBS, {**item, "status": running})
            self.world.put_child(PODS, f"{name}-head", self.number(item), "head")
        return state.get("jobDeploymentStatus") == "Running"

    def pods_go(self) -> None:
        """Let KubeRay take the pods away whose RayJob does not run."""
        present = {
            each["metadata"]["name"] for each in self.ray_jobs() if (each.get("status") or {}).get("jobDeploymentStatus") == "Running"
        }
        for pod in self.world.api.objects(PODS):
            if pod["metadata"]["name"].removesuffix("-head") not in present:
                self.world.api.remove(PODS, "team", pod["metadata"]["name"])

    def reports(self, attempt: int, sequence: int = 1, **record: Any) -> bool:
        """Write the attempt's report, if it is new; return whether the controller has taken one over."""
        name = progress_name("bot", UID, attempt)
        item = next((each for each in self.world.api.objects(CONFIG_MAPS) if each["metadata"]["name"] == name), None)
        text = record_text(**{"attempt": attempt, "cluster": self.cluster(attempt), "sequence": sequence, **record})
        if item is None and self.settings.driver_policy:  # the driver makes it
            self.world.put_child(CONFIG_MAPS, name, attempt, data={"record.json": text})
        elif item is not None and sequence > sequence_in(item):
            self.world.api.put(CONFIG_MAPS, {**item, "data": {"record.json": text}})
        return "lastStep" in self.attempt(attempt)

    def ends(self, item: KubeObject, words: tuple[str, str, str] | None) -> None:
        if words is not None:
            ended = dict(zip(("jobStatus", "jobDeploymentStatus", "message"), words, strict=True))
            self.world.api.put(RAY_JOBS, {**item, "status": {**item["status"], **ended}})


class MeddledLife(Life):
    """Somebody takes what the first attempt reports with, and it stalls; the second loses its token and leaves a report that blocks the
    job's deletion; of the third, a webhook drops the token for a while, and then it runs until the job's deadline.
    """

    POLICY: ClassVar[dict[str, Any]] = {**TTL, "stallTimeoutSeconds": 300, "activeDeadlineSeconds": 900, "maxAttempts": 5}
    LONGEST_PAUSE, WRITES = 100.0, 34
    MADE_AGAIN = frozenset({"roles/bot-1", f"roles/{SHARED_ACCOUNT}", "rayjobs/bot-3"})
    REPORTS_SECONDS, DROPS_SECONDS = 200, 60

    def others_begin(self) -> None:
        self.done = set[str]()
        self.drops_until: datetime | None = None
        self.world.api.admission = self.drops_the_token

    def once(self, what: str) -> bool:
        """Return whether this was not done before, in the world, which no crash of the controller changes."""
        new = what not in self.done
        self.done.add(what)
        return new

    def drops_the_token(self, item: KubeObject) -> None:
        """Be a webhook that drops of the third RayJob, for a minute, what its safety depends on."""
        if item["kind"] != "RayJob" or item["metadata"]["name"] != "bot-3":
            return
        if self.once("a webhook"):
            self.drops_until = self.world.now + timedelta(seconds=self.DROPS_SECONDS)
        if self.drops_until is not None and self.world.now < self.drops_until:
            del item["spec"]["rayClusterSpec"]["authOptions"]

    def others_act(self) -> None:
        for item in self.ray_jobs():
            number = self.number(item)
            since = (self.world.now - NOW) // timedelta(seconds=self.REPORTS_SECONDS)
            if not self.runs(item) or not self.reports(number, since + 1 if number == 3 else 1):
                continue
            if number == 1 and self.once("takes the Role"):
                self.world.api.remove(ROLES, "team", SHARED_ACCOUNT if self.settings.driver_policy else "bot-1")
            if number == 2 and self.once("takes the token"):
                self.changes_report(2, finalizers=["example.org/mine"], ownerReferences=None)
                self.world.api.put(RAY_JOBS, changed(item, spec__rayClusterSpec__authOptions=REMOVED))
        if self.attempt(1).get("outcome") and self.once("deletes the report"):
            self.changes_report(1, finalizers=["example.org/mine"], deletionTimestamp="2026-03-01T12:00:00Z")
        for item in self.world.api.objects(CONFIG_MAPS):
            if item["metadata"].get("deletionTimestamp") and not item["metadata"].get("finalizers"):
                self.world.api.remove(CONFIG_MAPS, "team", item["metadata"]["name"])
        self.pods_go()

    def changes_report(self, attempt: int, **metadata: Any) -> None:
        self.world.edit(CONFIG_MAPS, progress_name("bot", UID, attempt), **metadata)


class QueuedLife(Life):
    """Kueue admits the only attempt, takes its place away in mid-run, and admits it again."""

    WRITES = 15

    def others_begin(self) -> None:
        self.evictions = 0
        self.world.edit(FINE_TUNE_JOBS, "bot", labels={QUEUE_LABEL: "a"})

    def cluster(self, number: int) -> str:
        return f"bot-{number}-{'cd'[self.evictions]}"

    def others_act(self) -> None:
        for item in self.ray_jobs():
            step = self.attempt(1).get("lastStep")
            progress = {"step": 40 if self.evictions else 20, "totalSteps": 80, "epoch": 0.5, "tokensSeen": 8192}
            if item["spec"].get("suspend"):
                self.kueue_acts(item)
            elif self.runs(item) and self.reports(1, 1 + 2 * self.evictions, progress=progress):
                if not self.evictions:
                    self.kueue_evicts(item)
                elif step == progress["step"]:
                    self.ends(item, ("SUCCEEDED", "Complete", ""))
        self.pods_go()

    def kueue_acts(self, item: KubeObject) -> None:
        """Make a Workload for a RayJob, and admit it once the controller has said that the attempt waits."""
        if not self.world.api.objects(WORKLOADS):
            self.put_workload(item, {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "8 cpu are missing"})
        reason = "Preempted" if self.evictions else "Pending"
        if any((each["type"], each["status"], each["reason"]) == ("Queued", "True", reason) for each in self.world.status["conditions"]):
            self.put_workload(item, {"type": "QuotaReserved", "status": "True"}, {"type": "Admitted", "status": "True"})
            self.world.api.put(RAY_JOBS, changed(item, spec__suspend=False))

    def kueue_evicts(self, item: KubeObject) -> None:
        outcome = {"result": "Interrupted", "reason": "Stopped", "message": "asked to stop"}
        self.reports(1, 2, outcome=outcome)
        self.evictions = 1
        pending = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "8 cpu are missing"}
        self.put_workload(item, pending, {"type": "Evicted", "status": "True", "reason": "Preempted", "message": "for another one"})
        suspended = {"jobStatus": "", "jobDeploymentStatus": "Suspended", "rayClusterName": ""}
        self.world.api.put(RAY_JOBS, {**changed(item, spec__suspend=True), "status": suspended})

    def put_workload(self, ray_job: KubeObject, *conditions: dict[str, str]) -> None:
        owner = {"kind": "RayJob", "name": ray_job["metadata"]["name"], "uid": ray_job["metadata"]["uid"], "controller": True}
        metadata = {"name": "w", "namespace": "team", "ownerReferences": [owner]}
        self.world.api.put(WORKLOADS, {"metadata": metadata, "spec": {"queueName": "a"}, "status": {"conditions": list(conditions)}})


def sequence_in(item: KubeObject) -> int:
    text = (item.get("data") or {}).get("record.json")
    return int(json.loads(text)["sequence"]) if text else 0
