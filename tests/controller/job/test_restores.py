"""What a running attempt has lost is created again, and what is refused is tried less and less often."""

from datetime import timedelta

import pytest

from controller.job import names
from controller.runtime.resources import CONFIG_MAPS, ROLE_BINDINGS, ROLES, Resource
from controller.runtime.transport import Response
from tests.controller.job.builders import UID, record_text
from tests.controller.job.running import IDS, PROGRESS, SUPPORTS, found, reporting, running_world

pytestmark = pytest.mark.fault


@pytest.mark.parametrize(("kind", "name"), SUPPORTS, ids=IDS)
async def test_what_somebody_deletes_under_a_running_attempt_is_created_again_and_reported(kind: Resource, name: str) -> None:
    world = await running_world()
    before = found(world, kind, name)
    world.api.remove(kind, "team", name)
    await world.step()
    after = found(world, kind, name)
    assert before is not None
    assert after is not None
    assert {**after, "metadata": None} == {**before, "metadata": None}
    assert after["metadata"]["ownerReferences"] == before["metadata"]["ownerReferences"]
    assert after["metadata"]["labels"] == names.labels("bot", UID, 1)
    assert reporting(world) == ("True", "DeletedAndRestored")
    assert f"{kind.kind} {name}" in world.condition("Reporting")["message"]
    assert ("Warning", "DeletedAndRestored") in world.log.events


async def test_nothing_is_made_again_for_an_attempt_that_has_ended() -> None:
    world = await running_world()
    world.put_ray_job(1, "SUCCEEDED", "Complete")
    for kind, name in SUPPORTS:
        world.api.remove(kind, "team", name)
    for _ in range(3):
        await world.step()
    assert world.status["phase"] == "Succeeded"
    assert [found(world, kind, name) for kind, name in SUPPORTS] == [None] * 5


async def test_reports_go_on_in_a_progress_config_map_that_is_new_again() -> None:
    world = await running_world()
    world.put_child(CONFIG_MAPS, PROGRESS, 1, data={"record.json": record_text(sequence=3)})
    await world.step()
    world.api.remove(CONFIG_MAPS, "team", PROGRESS)
    await world.step()
    new = found(world, CONFIG_MAPS, PROGRESS)
    assert new is not None
    assert new["data"] == {}
    assert world.status["progress"]["step"] == 20
    progress = {"step": 40, "totalSteps": 80, "epoch": 0.5, "tokensSeen": 8192}
    world.api.put(CONFIG_MAPS, {**new, "data": {"record.json": record_text(sequence=5, progress=progress)}})
    world.now += timedelta(minutes=1)
    await world.step()
    assert world.status["progress"]["step"] == 40


async def test_what_cannot_be_created_again_is_reported_and_the_attempt_goes_on() -> None:
    world = await running_world()
    world.api.remove(ROLES, "team", "bot-1")
    world.api.fail(Response(422, b'{"kind":"Status","message":"a policy says no"}'), method="POST", path="roles")
    pause = await world.step()
    assert pause is not None
    assert reporting(world) == ("False", "CreationFailed")
    assert "a policy says no" in world.condition("Reporting")["message"]
    assert "Role bot-1: deleted by somebody" in world.condition("Reporting")["message"]
    assert world.condition("Running")["status"] == "True"
    world.now += timedelta(seconds=pause)
    await world.step()
    assert reporting(world) == ("True", "DeletedAndRestored")


async def test_what_is_refused_again_and_again_is_tried_less_often_and_reported_once() -> None:
    world = await running_world()
    for kind in (ROLES, ROLE_BINDINGS):
        world.api.remove(kind, "team", "bot-1")
    world.api.fail(Response(403, b'{"kind":"Status","message":"a policy says no"}'), method="POST", path="/roles", times=9)
    pause = await world.step() or 0
    assert found(world, ROLE_BINDINGS, "bot-1") is not None  # one refusal holds up no other object
    first, pauses, written = world.status, [pause], len(world.writes())
    for _ in range(3):
        assert 0 < (await world.step() or 0) <= pause  # woken by something else, it asks for nothing
        assert len(world.writes()) == written
    for _ in range(3):
        world.now += timedelta(seconds=pauses[-1])
        pauses.append(await world.step() or 0)
        assert world.status == first
    assert world.writes()[written:] == ["POST roles"] * 3
    assert pauses[-1] > 3 * pauses[0]
    assert [reason for _, reason in world.log.events if reason == "CreationFailed"] == ["CreationFailed"]

    world.api.heal()
    world.now += timedelta(seconds=pauses[-1])
    await world.step()
    assert reporting(world) == ("True", "DeletedAndRestored")
    world.api.remove(ROLES, "team", "bot-1")  # what is lost another time is asked for at once
    await world.step()
    assert found(world, ROLES, "bot-1") is not None
