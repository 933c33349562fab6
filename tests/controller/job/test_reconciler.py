"""One pass over a job: what is created, deleted and written, in which order, and what an error leaves behind."""

from datetime import timedelta
from functools import partial
from math import ceil
from typing import Any

import pytest

from controller.job.changes import finish
from controller.job.pauses import PODS_GONE_POLL
from controller.job.plan import POLICIES, plan
from controller.job.policies.finished import finished
from controller.job.reconciler import UNREADABLE_POLL_SECONDS
from controller.job.remains import leftovers
from controller.job.situation import Plan, Situation
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.errors import Conflict, Forbidden, ServerError
from controller.runtime.resources import CONFIG_MAPS, ROLES
from controller.runtime.transport import Response
from finetune.api.status import Condition, ConditionType
from tests.controller.job.builders import NOW, attempt
from tests.controller.job.world import KEY, World


async def test_a_job_that_is_gone_needs_nothing() -> None:
    world = World()
    assert await world.reconciler.reconcile("team/other") is None
    assert world.writes() == []


async def test_the_attempt_is_in_status_before_the_first_child_is_created_and_the_ray_job_comes_last() -> None:
    world = World()
    await world.step()
    assert world.writes() == ["PATCH status"]
    assert world.status["attempts"] == [{"number": 1, "rayJobName": "bot-1"}]
    await world.step()
    assert world.writes()[1:] == [
        "POST configmaps", "POST configmaps", "POST serviceaccounts", "POST roles", "POST rolebindings", "POST rayjobs",
    ]  # fmt: skip


async def test_an_error_while_acting_still_reaches_the_status_and_the_queue() -> None:
    world = World()
    await world.step()
    world.api.fail(Response(403, b'{"kind":"Status","message":"exceeded quota: team"}'), method="POST", path="rayjobs")
    pause = await world.step()
    assert pause is not None
    assert "exceeded quota: team" in world.condition("Running")["message"]
    assert world.condition("Running")["reason"] == "QuotaExceeded"
    assert world.status["phase"] == "Waiting"
    world.now += timedelta(seconds=pause)
    await world.step()
    assert world.condition("Running")["reason"] == "Starting"
    assert len(world.api.objects(RAY_JOBS)) == 1


@pytest.mark.parametrize(("runs", "phase"), [(False, "Suspended"), (True, "Running")], ids=["while it rests", "while another attempt runs"])
async def test_a_deletion_that_is_refused_is_reported_as_one(runs: bool, phase: str) -> None:
    world = World(runPolicy={"suspend": not runs})
    world.set_status(attempt(1, outcome="Suspended", end_time=NOW), *([attempt(2)] if runs else []))
    world.put_ray_job(1)
    if runs:
        world.put_ray_job(2)
    world.api.fail(Response(403, b'{"kind":"Status","message":"an admission plugin says no"}'), method="DELETE")
    with pytest.raises(Forbidden):
        await world.step()
    running = world.condition("Running")
    assert (running["status"], running["reason"]) == (str(runs), "DeletionFailed")
    assert "an admission plugin says no" in running["message"]
    assert world.status["phase"] == phase


async def test_a_refused_deletion_is_forgotten_once_an_ended_job_has_nothing_left() -> None:
    world = World()
    over = Condition(type="Failed", status="True", reason="AttemptsExhausted", message="words", last_transition_time=NOW)
    world.set_status(attempt(1, outcome="Failed", end_time=NOW - timedelta(hours=1)), conditions=[over])
    world.put_ray_job(1)
    world.api.fail(Response(403, b'{"kind":"Status","message":"not now"}'), method="DELETE")
    with pytest.raises(Forbidden):
        await world.step()
    assert world.condition("Running")["reason"] == "DeletionFailed"
    await world.step()
    await world.step()
    assert world.api.objects(RAY_JOBS) == []
    assert world.condition("Running")["reason"] == "Finished"


async def test_a_job_that_goes_before_its_status_is_written_needs_none() -> None:
    world = World()
    world.api.remove(FINE_TUNE_JOBS, "team", "bot")
    await world.reconciler.reconcile(KEY)
    assert world.log.events == []


async def test_an_error_that_passes_by_itself_is_not_reported_to_the_user() -> None:
    world = World()
    await world.step()
    before = world.status
    world.api.fail(Response(503, b"{}"), method="POST", path="rayjobs")
    assert await world.step()
    assert world.status == before


async def test_a_decision_over_an_old_version_of_the_job_is_not_written() -> None:
    world = World()
    world.catch_up()
    world.change_job({"runPolicy": {"suspend": True}})
    with pytest.raises(Conflict):
        await world.reconciler.reconcile(KEY)
    assert world.status == {}
    assert world.log.events == []


async def test_nothing_is_written_when_nothing_changed() -> None:
    world = World()
    for _ in range(3):
        await world.step()
    count = len(world.writes())
    await world.step()
    assert len(world.writes()) == count


async def test_events_report_transitions_once() -> None:
    world = World(data={"train": [{"configMap": {"name": "later", "key": "a.jsonl"}}]})
    await world.step()
    await world.step()
    assert world.log.events == [("Warning", "ReferenceMissing")]
    world.api.put(CONFIG_MAPS, {"metadata": {"name": "later", "namespace": "team"}, "data": {"a.jsonl": ""}})
    await world.step()
    assert world.log.events[1:] == [("Normal", "Accepted"), ("Normal", "Starting")]


async def test_a_job_that_is_resumed_after_its_suspension_could_not_be_written_runs_on() -> None:
    world = World()
    for _ in range(3):
        await world.step()
    world.change_job({"runPolicy": {"suspend": True}})
    world.api.fail(Response(503, b"{}"), method="PATCH", path="status")
    with pytest.raises(ServerError):
        await world.step()
    world.change_job({"runPolicy": {"suspend": False}})
    await world.step()
    assert len(world.api.objects(RAY_JOBS)) == 1
    assert "outcome" not in world.status["attempts"][0]


async def test_a_status_that_an_other_version_wrote_is_repaired() -> None:
    world = World()
    await world.step()
    job = world.api.objects(FINE_TUNE_JOBS)[0]
    world.api.put(FINE_TUNE_JOBS, {**job, "status": {**job["status"], "progress": {"novelty": 1}, "extra": True}})
    await world.step()
    assert "extra" not in world.status
    assert "progress" not in world.status
    assert world.status["attempts"] == [{"number": 1, "rayJobName": "bot-1"}]


@pytest.mark.parametrize("conditions", [True, False], ids=["conditions can be read", "nor can they"])
async def test_attempts_that_cannot_be_read_are_never_guessed_but_named(conditions: bool) -> None:
    world = World()
    await world.step()
    job = world.api.objects(FINE_TUNE_JOBS)[0]
    wrong = {"attempts": [{"novelty": 1}]} | ({} if conditions else {"conditions": [7]})
    world.api.put(FINE_TUNE_JOBS, {**job, "status": {**job["status"], **wrong}})
    world.log.events.clear()
    assert await world.step() == UNREADABLE_POLL_SECONDS
    accepted = world.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "StatusUnreadable")
    assert "status.attempts[0]." in accepted["message"]
    assert world.status["attempts"] == [{"novelty": 1}]
    assert [c["type"] for c in world.status["conditions"]] == (["Accepted", "Running"] if conditions else ["Accepted"])

    written = len(world.writes())
    await world.step()
    assert len(world.writes()) == written
    assert world.log.events == [("Warning", "StatusUnreadable")]
    assert world.ray_jobs() == []


DEADLINE = NOW + timedelta(hours=1)


def deadline(situation: Situation) -> Situation | Plan:
    """A rule as others may be added: the job fails at a certain time, whatever it does until then."""
    if situation.now < DEADLINE:
        return situation.wake_at(DEADLINE)
    return finish(situation, ConditionType.FAILED, "DeadlineExceeded", "words").do(*leftovers(situation)).ends()


@pytest.fixture
def with_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    policies = [each for policy in POLICIES for each in ([policy, deadline] if policy is finished else [policy])]
    monkeypatch.setattr("controller.job.reconciler.plan", partial(plan, policies=tuple(policies)))


@pytest.mark.usefixtures("with_deadline")
async def test_a_job_whose_creation_is_refused_still_ends_at_its_deadline_and_asks_for_nothing_more() -> None:
    world = World()
    await world.step()
    words = b'{"kind":"Status","message":"exceeded quota: team"}'
    world.api.fail(Response(403, words), method="POST", path="rayjobs", times=1000)
    await world.step()
    while world.now < DEADLINE:
        assert world.condition("Running")["reason"] == "QuotaExceeded"
        pause = await world.step()
        assert pause is not None
        assert world.now + timedelta(seconds=pause) <= DEADLINE
        world.now += timedelta(seconds=max(1, ceil(pause)))
    await world.step()
    assert world.condition("Failed")["reason"] == "DeadlineExceeded"
    assert world.status["phase"] == "Failed"
    asked = len(world.api.requests)
    assert await world.step() is None
    assert len(world.api.requests) == asked


@pytest.mark.usefixtures("with_deadline")
async def test_what_fails_does_not_hide_when_the_job_is_due() -> None:
    world = World()
    world.set_status(attempt(1, outcome="Failed", end_time=NOW - timedelta(hours=1)), attempt(2))
    world.put_ray_job(1)
    world.put_ray_job(2)
    world.now = DEADLINE - timedelta(seconds=40)
    world.api.fail(Response(403, b'{"kind":"Status","message":"not now"}'), method="DELETE", times=2)
    world.api.fail(Response(503, b"{}"), method="PATCH", path="status")
    for kind in (ServerError, Forbidden):  # the status could not be written, then only the deletion failed
        with pytest.raises(kind) as raised:
            await world.step()
        assert raised.value.again_within_seconds == 40


@pytest.mark.parametrize("answer", [503, 403])
async def test_a_poll_does_not_shorten_the_pauses_between_retries(answer: int) -> None:
    world = World()
    world.set_status(attempt(1, outcome="Failed", end_time=NOW))
    world.put_ray_job(1)
    world.api.fail(Response(answer, b"{}"), method="DELETE")
    with pytest.raises(ServerError if answer == 503 else Forbidden) as raised:
        await world.step()
    assert raised.value.again_within_seconds is None
    assert await world.step() == PODS_GONE_POLL.total_seconds()


@pytest.mark.usefixtures("with_deadline")
async def test_what_cannot_be_read_before_a_creation_is_tried_again_does_not_hide_when_the_job_is_due() -> None:
    world = World()
    await world.step()
    world.api.fail(Response(403, b'{"kind":"Status","message":"a policy says no"}'), method="POST", path="rayjobs")
    pause = await world.step()
    assert pause is not None
    assert world.condition("Running")["reason"] == "CreationFailed"
    world.now += timedelta(seconds=ceil(pause))
    world.api.fail(Response(503, b"{}"), method="GET", path="persistentvolumeclaims")
    with pytest.raises(ServerError) as raised:
        await world.step()
    assert raised.value.again_within_seconds == (DEADLINE - world.now).total_seconds()


@pytest.mark.parametrize("path", ["persistentvolumeclaims", "configmaps/rows", "pods"])
async def test_what_cannot_be_read_before_an_attempt_is_created_is_reported_until_it_can(path: str) -> None:
    world = World()
    await world.step()
    world.restart()  # a process that has begun the attempt itself reads less
    world.log.events.clear()
    world.api.fail(Response(403, b'{"kind":"Status","message":"the controller may not"}'), method="GET", path=path, times=2)
    for _ in range(2):
        with pytest.raises(Forbidden):
            await world.step()
    running = world.condition("Running")
    assert (running["status"], running["reason"], world.status["phase"]) == ("False", "ObservationFailed", "Waiting")
    assert "the controller may not" in running["message"]
    assert world.log.events == [("Warning", "ObservationFailed")]
    await world.step()
    assert world.condition("Running")["reason"] == "Starting"
    assert world.ray_jobs() == ["bot-1"]


async def test_a_job_that_runs_still_runs_while_the_controller_cannot_see_it() -> None:
    world = World()
    for _ in range(2):
        await world.step()
    world.put_ray_job(1)
    await world.step()
    world.api.remove(ROLES, "team", "bot-1")
    world.api.fail(Response(403, b'{"kind":"Status","message":"the controller may not"}'), method="GET", path="roles", times=1)
    with pytest.raises(Forbidden):
        await world.step()
    running = world.condition("Running")
    assert (running["status"], running["reason"], world.status["phase"]) == ("True", "ObservationFailed", "Running")
    await world.step()
    assert world.condition("Running")["reason"] == "TrainerRunning"


async def test_a_server_that_fails_while_a_job_is_observed_is_not_reported_to_the_user() -> None:
    world = World()
    await world.step()
    world.restart()
    before = world.status
    world.api.fail(Response(503, b"{}"), method="GET", path="persistentvolumeclaims")
    with pytest.raises(ServerError):
        await world.step()
    assert world.status == before


@pytest.mark.parametrize("status", [{}, {"phase": "Baking", "attempts": [{"novelty": 1}]}], ids=["fresh", "in another form"])
async def test_a_job_of_another_controller_is_left_alone(status: dict[str, Any]) -> None:
    world = World(runPolicy={"managedBy": "example.com/other"})
    job = world.api.objects(FINE_TUNE_JOBS)[0]
    world.api.put(FINE_TUNE_JOBS, {**job, "status": status})
    for _ in range(3):
        assert await world.step() is None
    assert world.api.requests == []
    assert world.status == status


async def test_a_job_whose_time_to_live_is_over_is_deleted_and_nothing_is_written_to_it() -> None:
    world = World(runPolicy={"ttlSecondsAfterFinished": 60})
    over = Condition(type="Failed", status="True", reason="AttemptsExhausted", message="words", last_transition_time=NOW)
    world.set_status(attempt(1, outcome="Failed", end_time=NOW), conditions=[over])
    assert await world.step() == 60
    before = len(world.writes())
    world.now += timedelta(seconds=60)
    await world.step()
    assert world.writes()[before:] == ["DELETE bot"]
    assert world.api.objects(FINE_TUNE_JOBS) == []
