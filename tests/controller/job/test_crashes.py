"""The controller dies before or after any one of its writes, and another process goes on: the job's life ends as if it had not.

A whole life: a first attempt fails, the second is suspended and resumed, the third succeeds, and the job goes when its time to live is
over. KubeRay, the trainer and the user do what the objects on the server say, so that a crash changes nothing about them.
"""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from controller.job.names import progress_name
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.client import Client
from controller.runtime.errors import KubeError
from controller.runtime.resources import CONFIG_MAPS, PODS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, KubeObject
from controller.runtime.transport import Request, Response
from tests.controller.job.builders import UID, record_text
from tests.controller.job.world import World
from tests.fakes import FakeApi

LIFE = {"runPolicy": {"ttlSecondsAfterFinished": 30}}
KINDS = (RAY_JOBS, CONFIG_MAPS, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS)
STEPS = 300


class KilledError(BaseException):
    """The process is gone: nothing catches it."""


class Dying:
    """The way to an API server, on which the process dies at its write number `at`: before it is sent, or before the answer comes."""

    def __init__(self, api: FakeApi, at: int | None, *, answered: bool) -> None:
        self._api, self._at, self._answered = api, at, answered
        self.writes: list[str] = []

    async def send(self, request: Request) -> Response:
        if request.method == "GET":
            return await self._api.send(request)
        self.writes.append(f"{request.method} {request.path}")
        dies = len(self.writes) == self._at
        if dies and not self._answered:
            raise KilledError
        response = await self._api.send(request)
        if dies:
            raise KilledError
        return response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)


class Life:
    """A job and all that acts on it."""

    def __init__(self, at: int | None = None, *, answered: bool = False) -> None:
        self.world = World(**LIFE)
        self.transport = Dying(self.world.api, at, answered=answered)
        self.world.client = Client(self.transport, field_manager="test")
        self.world.restart()
        self.created = Counter[str]()
        self.alive_at_once = 0
        self.last: dict[str, Any] = {}

    async def live(self) -> None:
        """Let everybody act in turn until the job is gone."""
        for _ in range(STEPS):
            self.others_act()
            again: float | None = 1.0
            try:
                again = await self.world.step()
            except KilledError:
                self.world.restart()
            except KubeError:
                pass
            if not self.world.api.objects(FINE_TUNE_JOBS):
                return
            self.last = self.world.status
            self.count()
            self.world.now += timedelta(seconds=max(1.0, min(again or 1.0, 20.0)))
        raise AssertionError(f"the job never ends: {self.last}")

    def count(self) -> None:
        alive = [each for each in self.ray_jobs() if (each.get("status") or {}).get("jobDeploymentStatus") not in ("Complete", "Failed")]
        self.alive_at_once = max(self.alive_at_once, len(alive))

    def ray_jobs(self) -> list[KubeObject]:
        return self.world.api.objects(RAY_JOBS)

    def others_act(self) -> None:
        """KubeRay runs what is there, the trainer reports, and the user suspends the second attempt and resumes the job when it rests."""
        status, policy = self.world.status, self.world.api.objects(FINE_TUNE_JOBS)[0]["spec"]["runPolicy"]
        for item in self.ray_jobs():
            name = item["metadata"]["name"]
            state = item.get("status") or {}
            if not state:
                running = {"jobStatus": "RUNNING", "jobDeploymentStatus": "Running", "rayClusterName": f"{name}-c"}
                self.world.api.put(RAY_JOBS, {**item, "status": running})
                self.world.put_child(PODS, f"{name}-head", int(name[-1]), "head")
            elif state["jobDeploymentStatus"] == "Running" and self.reports(int(name[-1]), status):
                self.ends(item, int(name[-1]))
        present = {each["metadata"]["name"] for each in self.ray_jobs() if each["status"]["jobDeploymentStatus"] == "Running"}
        for pod in self.world.api.objects(PODS):
            if pod["metadata"]["name"].removesuffix("-head") not in present:
                self.world.api.remove(PODS, "team", pod["metadata"]["name"])
        second = (status.get("attempts") or [])[1:2]
        if second and not policy.get("suspend") and "outcome" not in second[0] and second[0].get("lastStep"):
            self.world.change_job({"runPolicy": {**policy, "suspend": True}})
        rests = [each for each in status.get("conditions") or [] if each["type"] == "Suspended" and each["message"].startswith("no pods")]
        if policy.get("suspend") and rests and not self.ray_jobs()[1:]:
            self.world.change_job({"runPolicy": {**policy, "suspend": False}})

    def reports(self, attempt: int, status: dict[str, Any]) -> bool:
        """Write the attempt's report; return whether the controller has taken it over."""
        name = progress_name("bot", UID, attempt)
        item = next(each for each in self.world.api.objects(CONFIG_MAPS) if each["metadata"]["name"] == name)
        text = record_text(attempt=attempt, cluster=f"bot-{attempt}-c", sequence=1)
        if not item.get("data"):
            self.world.api.put(CONFIG_MAPS, {**item, "data": {"record.json": text}})
        return any(each["number"] == attempt and each.get("lastStep") for each in status.get("attempts") or [])

    def ends(self, item: KubeObject, attempt: int) -> None:
        words = {1: ("FAILED", "Failed", "Job entrypoint command failed with exit code -9"), 3: ("SUCCEEDED", "Complete", "")}.get(attempt)
        if words is not None:
            ended = dict(zip(("jobStatus", "jobDeploymentStatus", "message"), words, strict=True))
            self.world.api.put(RAY_JOBS, {**item, "status": {**item["status"], **ended}})

    def end_state(self) -> dict[str, Any]:
        """What is left, without times, and without words that name them."""
        facts = ("number", "rayJobName", "outcome", "reason", "lastStep", "jobReason")
        return {
            "attempts": [{fact: each.get(fact) for fact in facts} for each in self.last["attempts"]],
            "conditions": [(each["type"], each["status"], each["reason"]) for each in self.last["conditions"]],
            "phase": self.last["phase"],
            "children": sorted(f"{kind}/{item['metadata']['name']}" for kind in KINDS for item in self.world.api.objects(kind)),
        }


async def test_the_whole_life_is_as_it_should_be() -> None:
    life = Life()
    await life.live()
    state = life.end_state()
    assert [(each["number"], each["outcome"]) for each in state["attempts"]] == [(1, "Failed"), (2, "Suspended"), (3, "Succeeded")]
    assert (state["phase"], life.alive_at_once) == ("Succeeded", 1)
    assert len(life.transport.writes) >= WRITES


WRITES = 30
"""At least so many writes has a life."""


@pytest.mark.parametrize("answered", [False, True], ids=["before it", "before its answer"])
async def test_a_crash_at_any_write_changes_nothing_about_the_end(answered: bool) -> None:
    whole = Life()
    await whole.live()
    expected, total = whole.end_state(), len(whole.transport.writes)
    assert total >= WRITES
    for at in range(1, total + 1):
        life = Life(at, answered=answered)
        await life.live()
        where = f"killed at {life.transport.writes[at - 1]}, number {at} of {total}"
        assert life.end_state() == expected, where
        assert life.alive_at_once == 1, where


@pytest.mark.parametrize("every", [8, 9, 11])
async def test_a_controller_that_dies_over_and_over_gets_on(every: int) -> None:
    """One pass writes up to seven times: a controller that never gets through one would never get on."""

    class OverAndOver(Dying):
        async def send(self, request: Request) -> Response:
            if request.method != "GET":
                self._at = len(self.writes) + 1 if (len(self.writes) + 1) % every == 0 else None
            return await super().send(request)

    whole, life = Life(), Life()
    life.transport = OverAndOver(life.world.api, None, answered=every % 2 == 1)
    life.world.client = Client(life.transport, field_manager="test")
    life.world.restart()
    await whole.live()
    await life.live()
    assert (life.end_state(), life.alive_at_once) == (whole.end_state(), 1)
