"""The small objects of an attempt when somebody deletes, takes or alters them, over an API server in memory."""

from datetime import timedelta
from typing import Any

import pytest

from controller.job import names
from controller.job.objects.pods import head_template
from controller.job.pauses import UNWATCHED_POLL
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.errors import Conflict, NotLeading, Unreachable
from controller.runtime.resources import CONFIG_MAPS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, KubeObject, Resource
from controller.runtime.transport import Response
from tests.controller.job.builders import NOW, UID, Settings, job, record_text
from tests.controller.job.world import KEY, OWNER, World
from tests.fakes import CREATED

PROGRESS = "bot-1-progress-0123abcd"
SUPPORTS = [
    (CONFIG_MAPS, "bot-1-config"),
    (CONFIG_MAPS, PROGRESS),
    (SERVICE_ACCOUNTS, "bot-1"),
    (ROLES, "bot-1"),
    (ROLE_BINDINGS, "bot-1"),
]
IDS = ["configuration", "progress", "account", "role", "binding"]
DRIVERS_TRICKS = {
    "finalizer": {"finalizers": ["example.com/mine"]},
    "no owner": {"ownerReferences": []},
    "no labels": {"labels": {}},
    "labels of another job": {"labels": {"finetune.dev/job": "other", "finetune.dev/job-uid": "x"}},
    "all of it": {"finalizers": ["example.com/mine"], "ownerReferences": [], "labels": {}},
}


async def running_world() -> World:
    world = World()
    await world.step()
    await world.step()
    world.put_ray_job(1)
    await world.step()
    assert world.condition("Running")["status"] == "True"
    return world


def found(world: World, kind: Resource, name: str) -> KubeObject | None:
    return next((item for item in world.api.objects(kind) if item["metadata"]["name"] == name), None)


def reporting(world: World) -> tuple[str, str] | None:
    told = [c for c in world.status["conditions"] if c["type"] == "Reporting"]
    return (told[0]["status"], told[0]["reason"]) if told else None


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


async def test_nothing_is_made_again_or_asked_for_while_all_is_there() -> None:
    world = await running_world()
    written, asked = len(world.writes()), len(world.api.requests)
    await world.step()
    assert len(world.writes()) == written
    assert len(world.api.requests) == asked
    assert reporting(world) is None


async def test_a_cache_that_lags_behind_makes_nothing_again() -> None:
    world = await running_world()
    world.catch_up()
    for store in (world.stores.roles, world.stores.role_bindings, world.stores.service_accounts, world.stores.progress):
        store.replace([])
    written = len(world.writes())
    await world.reconciler.reconcile(KEY)
    assert len(world.writes()) == written


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


async def test_an_object_of_somebody_else_with_our_name_is_reported_and_never_touched() -> None:
    world = await running_world()
    world.api.remove(ROLE_BINDINGS, "team", "bot-1")
    owner = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "other"}]
    theirs = {"metadata": {"name": "bot-1", "namespace": "team", "ownerReferences": owner, "labels": names.labels("bot", UID, 1)}}
    world.api.put(ROLE_BINDINGS, theirs)
    await world.step()
    assert reporting(world) == ("False", "NameTaken")
    assert "RoleBinding bot-1" in world.condition("Reporting")["message"]
    assert (found(world, ROLE_BINDINGS, "bot-1") or {})["metadata"]["ownerReferences"] == owner
    assert world.condition("Running")["status"] == "True"

    world.api.remove(ROLE_BINDINGS, "team", "bot-1")
    await world.step()
    await world.step()
    assert reporting(world) == ("True", "DeletedAndRestored")


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


async def test_an_account_that_was_made_again_is_said_to_need_a_new_token_which_comes_within_minutes() -> None:
    world = await running_world()
    world.api.remove(SERVICE_ACCOUNTS, "team", "bot-1")
    await world.step()
    assert "until it is renewed, within 10 minutes" in world.condition("Reporting")["message"]
    volumes = head_template(job(), 1, Settings())["spec"]["volumes"]
    [source] = [
        source for volume in volumes for source in volume.get("projected", {}).get("sources", []) if "serviceAccountToken" in source
    ]
    assert source["serviceAccountToken"]["expirationSeconds"] == 10 * 60

    world = await running_world()
    world.api.remove(ROLES, "team", "bot-1")
    await world.step()
    assert "token" not in world.condition("Reporting")["message"]


@pytest.mark.parametrize(
    ("kind", "name", "labels", "looks"),
    [
        (CONFIG_MAPS, PROGRESS, {}, True),
        (ROLES, "bot-1", {}, True),
        (CONFIG_MAPS, PROGRESS, {"finetune.dev/job": "other"}, False),
    ],
    ids=["progress", "role", "the label is there, and wrong"],
)
async def test_what_no_watch_reports_any_more_is_polled(kind: Resource, name: str, labels: dict[str, str], looks: bool) -> None:
    world = await running_world()
    world.edit(kind, name, labels=labels)
    assert await world.step() == (UNWATCHED_POLL.total_seconds() if looks else None)


async def test_a_progress_config_map_that_was_put_right_is_said_to_be() -> None:
    world = await running_world()
    world.edit(CONFIG_MAPS, PROGRESS, finalizers=["example.com/mine"])
    await world.step()
    assert reporting(world) == ("True", "ProgressAltered")
    world.edit(CONFIG_MAPS, PROGRESS, finalizers=[])
    await world.step()
    assert reporting(world) == ("True", "Reporting")
    written = len(world.writes())
    await world.step()
    assert len(world.writes()) == written


@pytest.mark.parametrize("trick", DRIVERS_TRICKS.values(), ids=DRIVERS_TRICKS.keys())
async def test_a_progress_config_map_that_the_trainer_altered_is_read_and_reported_and_deleted_with_its_job(trick: dict[str, Any]) -> None:
    world = await running_world()
    data = {"record.json": record_text(sequence=3)}
    world.put_child(CONFIG_MAPS, PROGRESS, 1, data=data)
    world.edit(CONFIG_MAPS, PROGRESS, **trick)
    await world.step()
    assert reporting(world) == ("True", "ProgressAltered")
    assert world.status["progress"]["step"] == 20

    world.put_ray_job(1, "SUCCEEDED", "Complete")
    await world.step()
    assert world.status["phase"] == "Succeeded"
    assert lets_go(world)

    # A trainer whose pods are not gone yet does it again, and the job is deleted.
    world.edit(CONFIG_MAPS, PROGRESS, **trick)
    job = world.api.objects(FINE_TUNE_JOBS)[0]
    world.api.put(FINE_TUNE_JOBS, {**job, "metadata": {**job["metadata"], "deletionTimestamp": CREATED}})
    await world.step()
    assert lets_go(world)
    written = len(world.writes())
    await world.step()
    assert len(world.writes()) == written


def lets_go(world: World) -> bool:
    """Tell whether the progress ConfigMap goes when its job goes."""
    metadata = (found(world, CONFIG_MAPS, PROGRESS) or {})["metadata"]
    return not metadata.get("finalizers") and [owner["uid"] for owner in metadata["ownerReferences"]] == [UID]


async def test_an_immutable_progress_config_map_is_reported_and_the_job_ends_as_it_would() -> None:
    world = await running_world()
    world.put_child(CONFIG_MAPS, PROGRESS, 1, data={"record.json": record_text()}, immutable=True)
    await world.step()
    assert reporting(world) == ("False", "ProgressImmutable")
    world.put_ray_job(1, "FAILED", "Failed")
    await world.step()
    assert world.status["attempts"][0]["outcome"] == "Failed"
    world.now += timedelta(minutes=1)
    for _ in range(3):
        await world.step()
    assert found(world, CONFIG_MAPS, "bot-2-progress-0123abcd") is not None
    assert "bot-2" in world.ray_jobs()


async def test_a_record_that_was_blown_up_ends_nothing() -> None:
    world = await running_world()
    world.put_child(CONFIG_MAPS, PROGRESS, 1, data={"record.json": "x" * 2**20})
    await world.step()
    world.put_ray_job(1, "SUCCEEDED", "Complete")
    await world.step()
    assert world.status["phase"] == "Succeeded"


LEFT = {
    "metadata": {
        "name": "bot-1-progress-ffffffff",
        "namespace": "team",
        "finalizers": ["example.com/mine"],
        "labels": names.labels("bot", "ffffffff-1", 1),
    },
    "data": {},
}


async def test_what_a_deleted_job_of_the_same_name_left_behind_is_in_nobodys_way() -> None:
    world = World()
    world.api.put(CONFIG_MAPS, LEFT)
    await world.step()
    await world.step()
    assert world.ray_jobs() == ["bot-1"]
    assert (found(world, CONFIG_MAPS, "bot-1-progress-ffffffff") or {})["metadata"]["finalizers"] == ["example.com/mine"]


@pytest.mark.parametrize("there", [True, False], ids=["a job of that name is there", "it is gone"])
@pytest.mark.parametrize(
    ("metadata", "goes"),
    [
        ({"deletionTimestamp": CREATED}, True),
        ({"deletionTimestamp": CREATED, "labels": {}, "ownerReferences": [OWNER | {"uid": "ffffffff-1"}]}, False),
        ({"deletionTimestamp": CREATED, "labels": names.labels("bot", "eeeeeeee-1", 1)}, False),
        ({"deletionTimestamp": CREATED, "name": "rows"}, False),
        ({}, False),
    ],
    ids=[
        "being deleted",
        "without our label no cache has it",
        "not of the job that its label names",
        "not a progress",
        "not being deleted",
    ],
)
async def test_a_finalizer_of_the_trainers_does_not_hold_a_progress_that_is_being_deleted(
    there: bool, metadata: dict[str, Any], goes: bool
) -> None:
    world = World()
    item = {**LEFT, "metadata": {**LEFT["metadata"], **metadata}}
    world.api.put(CONFIG_MAPS, item)
    if not there:
        world.api.remove(FINE_TUNE_JOBS, "team", "bot")
    await world.step()
    left = found(world, CONFIG_MAPS, item["metadata"]["name"]) or {}
    assert ("finalizers" not in left["metadata"]) is goes


@pytest.mark.parametrize(
    "failure", [Response(403, b'{"kind":"Status","message":"no"}'), Unreachable("no answer")], ids=["refused", "unreachable"]
)
async def test_a_progress_of_an_earlier_job_that_cannot_be_let_go_holds_up_no_other_job(failure: Response | Exception) -> None:
    world = World()
    world.api.put(CONFIG_MAPS, {**LEFT, "metadata": {**LEFT["metadata"], "deletionTimestamp": CREATED}})
    world.api.fail(failure, method="PATCH", path="configmaps", times=9)
    for _ in range(3):
        await world.step()
    assert world.ray_jobs() == ["bot-1"]
    world.api.heal()
    await world.step()
    assert "finalizers" not in (found(world, CONFIG_MAPS, "bot-1-progress-ffffffff") or {})["metadata"]


async def test_the_progress_of_a_job_that_is_gone_is_let_go_later_where_that_is_refused() -> None:
    world = World()
    world.api.put(CONFIG_MAPS, {**LEFT, "metadata": {**LEFT["metadata"], "deletionTimestamp": CREATED}})
    world.api.remove(FINE_TUNE_JOBS, "team", "bot")
    world.api.fail(Response(403, b'{"kind":"Status","message":"no"}'), method="PATCH", path="configmaps")
    assert await world.step()
    assert await world.step() is None
    assert "finalizers" not in (found(world, CONFIG_MAPS, "bot-1-progress-ffffffff") or {})["metadata"]


async def test_a_controller_that_leads_no_more_stops_at_once() -> None:
    world = World()
    world.api.put(CONFIG_MAPS, {**LEFT, "metadata": {**LEFT["metadata"], "deletionTimestamp": CREATED}})
    world.api.fail(NotLeading("the lease is lost"), method="PATCH", path="configmaps")
    with pytest.raises(NotLeading):
        await world.step()
    assert world.status == {}


@pytest.mark.parametrize("ended", [False, True], ids=["being deleted", "let go at the end"])
async def test_a_progress_that_was_created_again_since_it_was_seen_is_not_touched(ended: bool) -> None:
    world = await running_world()
    world.edit(CONFIG_MAPS, PROGRESS, finalizers=["example.com/mine"], **({} if ended else {"deletionTimestamp": CREATED}))
    if ended:
        world.put_ray_job(1, "SUCCEEDED", "Complete")
    world.catch_up()
    old = found(world, CONFIG_MAPS, PROGRESS) or {}
    world.api.remove(CONFIG_MAPS, "team", PROGRESS)
    world.api.put(CONFIG_MAPS, {**old, "metadata": {**old["metadata"], "uid": "of another"}})
    if ended:
        with pytest.raises(Conflict):
            await world.reconciler.reconcile(KEY)
    else:
        await world.reconciler.reconcile(KEY)
    assert (found(world, CONFIG_MAPS, PROGRESS) or {})["metadata"]["finalizers"] == ["example.com/mine"]


@pytest.mark.parametrize("labels", [{}, {"finetune.dev/job": "other", "finetune.dev/attempt": "9"}], ids=["removed", "of another job"])
async def test_a_ray_job_whose_labels_were_changed_runs_on_and_is_seen_to_fail(labels: dict[str, str]) -> None:
    world = await running_world()
    world.edit(RAY_JOBS, "bot-1", labels=labels)
    look_again = await world.step()
    assert (look_again is None) is bool(labels)  # no watch reports one without the label
    assert world.ray_jobs() == ["bot-1"]
    assert world.condition("Running")["status"] == "True"

    ray_job = world.api.objects(RAY_JOBS)[0]
    world.api.put(RAY_JOBS, {**ray_job, "status": {**ray_job["status"], "jobStatus": "FAILED", "jobDeploymentStatus": "Failed"}})
    await world.step()
    assert (world.status["attempts"][0]["outcome"], world.status["attempts"][0]["reason"]) == ("Failed", "TrainerFailed")
    world.now = NOW + timedelta(minutes=5)
    for _ in range(3):
        await world.step()
    assert world.ray_jobs() == ["bot-1", "bot-2"]


async def test_a_ray_job_without_labels_is_deleted_when_its_job_is_suspended() -> None:
    world = await running_world()
    world.edit(RAY_JOBS, "bot-1", labels={})
    await world.step()
    world.change_job({"runPolicy": {"suspend": True}})
    await world.step()
    await world.step()
    assert world.ray_jobs() == []
