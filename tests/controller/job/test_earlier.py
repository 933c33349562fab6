"""Whether the jobs that a job starts from are ready, what is said while they are not, and which were found."""

from typing import Any

import pytest

from controller.job.earlier import base_of, earlier_of, needed_by, recorded, run_of, waits_for_itself
from controller.job.facts import EarlierFacts, Job
from controller.job.limits import refusals
from controller.job.objects.attempt import objects_of
from controller.job.objects.placement import claims
from controller.job.situation import CreateAttempt
from controller.job.trainconfig import train_config
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, KubeObject
from finetune.api.conditions import Reason
from finetune.api.resolve import CONTINUED_JOB, MODEL_OF_JOB, NamedJob
from finetune.api.sources import ClaimPath
from finetune.api.status import AttemptOutcome, ConditionType, EarlierJob
from tests.builders import resource
from tests.controller.job.builders import Settings, attempt, job, observed, status
from tests.controller.job.decisions import after, condition, decide, ended, last_attempt
from tests.controller.job.world import World

FIRST_UID = "aaaabbbb-1111-2222-3333-444455556666"
OF_MODEL: dict[str, Any] = {"model": {"fineTuneJob": {"name": "first"}}}
OF_SECOND: dict[str, Any] = {"model": {"fineTuneJob": {"name": "second"}}}
OF_RUN: dict[str, Any] = {"continueFrom": {"fineTuneJob": "first"}}
EXPORTS = {"output": {"persistentVolumeClaim": {"claimName": "models", "path": "team"}, "export": ["merged"]}}
SUCCEEDED = status(ended(1, AttemptOutcome.SUCCEEDED)).to_wire()
FAILED = status(ended(1, AttemptOutcome.FAILED)).model_copy(update={"attempts": [attempt(outcome="Failed", job_reason="Exhausted")]})


def stored(name: str = "first", uid: str = FIRST_UID, state: dict[str, Any] | None = None, **sections: Any) -> KubeObject:
    """Return an earlier job as the cache has it, which exports a merged model unless stated otherwise."""
    item = resource(name, **(EXPORTS | sections))
    return item | {"metadata": {"name": name, "namespace": "team", "uid": uid}, "status": state or {}}


def found(of: Job, *items: KubeObject) -> tuple[EarlierFacts, ...]:
    by_name = {item["metadata"]["name"]: item for item in items}
    return earlier_of(of, by_name.get)


def pin(field: str = MODEL_OF_JOB, claim: str = "models", path: str = "team", uid: str = FIRST_UID) -> EarlierJob:
    return EarlierJob(spec_field=field, name="first", uid=uid, output=ClaimPath(claim_name=claim, path=path))


def deleted(item: KubeObject) -> KubeObject:
    return {**item, "metadata": {**item["metadata"], "deletionTimestamp": "2026-03-01T12:00:00Z"}}


def running(reason: str = "TrainerRunning") -> dict[str, Any]:
    time = "2026-03-01T12:00:00Z"
    conditions = [{"type": "Running", "status": "True", "reason": reason, "message": "", "lastTransitionTime": time}]
    return {"conditions": conditions, "attempts": [attempt().to_wire()]}


@pytest.mark.parametrize(
    ("sections", "items", "words"),
    [
        (OF_MODEL, [], "model.fineTuneJob: there is no FineTuneJob first in namespace team; once one of that name has succeeded"),
        (OF_RUN, [], "continueFrom: there is no FineTuneJob first in namespace team"),
        (OF_MODEL, [stored()], "the job first has not succeeded yet (it is Pending)"),
        (
            OF_MODEL,
            [stored(state=running())],
            "the job first has not succeeded yet (it is Running); when it has, this job starts by itself",
        ),
        (OF_RUN, [stored(state=FAILED.to_wire())], "continueFrom: the job first has failed (Exhausted); once another of its name has"),
        (OF_MODEL, [deleted(stored(state=SUCCEEDED))], "the job first is being deleted"),
        (
            OF_MODEL,
            [stored(state=SUCCEEDED, output__export=["adapter"])],
            "exports only an adapter, and a model is needed; with output.export",
        ),
        (OF_MODEL, [stored(state={"attempts": "many"})], "has a status that cannot be read"),
        (OF_MODEL, [stored(training={})], "has a spec that cannot be read"),
        (OF_MODEL, [stored(model={"fineTuneJob": {"name": "bot"}})], "bot and first wait for each other"),
    ],
    ids=["none", "none to continue", "new", "runs", "failed", "deleted", "adapter", "odd status", "odd spec", "circle"],
)
def test_a_job_that_is_not_ready_is_waited_for_in_words(sections: dict[str, Any], items: list[KubeObject], words: str) -> None:
    [facts] = found(job(**sections), *items)
    assert facts.job is None
    assert words in facts.problem


@pytest.mark.parametrize(("sections", "field"), [(OF_MODEL, MODEL_OF_JOB), (OF_RUN, CONTINUED_JOB)], ids=["model", "run"])
def test_a_job_that_has_succeeded_is_known_by_uid_and_by_where_its_output_is(sections: dict[str, Any], field: str) -> None:
    assert found(job(**sections), stored(state=SUCCEEDED)) == (EarlierFacts(pin(field)),)


def test_an_adapter_is_enough_for_a_job_that_is_continued() -> None:
    [facts] = found(job(**OF_RUN), stored(state=SUCCEEDED, output__export=["adapter"]))
    assert facts.job is not None


def test_a_job_in_status_is_not_looked_for_again_and_another_of_its_name_is_not_taken_for_it() -> None:
    begun = job(**OF_MODEL, status=status(attempt(), earlier_jobs=[pin()]))
    another = stored(uid="ffffffff-0000-0000-0000-000000000000", state=SUCCEEDED)
    assert found(begun) == found(begun, another) == (EarlierFacts(pin()),)


def test_only_what_the_spec_names_counts_in_a_status_that_somebody_edited() -> None:
    stranger = pin().model_copy(update={"name": "other"})
    assert recorded(job(**OF_MODEL, status=status(earlier_jobs=[stranger, pin()]))) == [pin()]
    assert recorded(job(**OF_RUN, status=status(earlier_jobs=[pin()]))) == recorded(job(status=status(earlier_jobs=[pin()]))) == []


def test_a_long_circle_is_found_and_a_chain_is_none() -> None:
    chain = {f"j{number}": stored(f"j{number}", model={"fineTuneJob": {"name": f"j{number + 1}"}}) for number in range(5)}
    waiting = job(model={"fineTuneJob": {"name": "j0"}})
    assert waits_for_itself(waiting, chain.get) == []
    chain["j5"] = stored("j5", continueFrom={"fineTuneJob": "bot"})
    assert waits_for_itself(waiting, chain.get) == ["bot", "j0", "j1", "j2", "j3", "j4", "j5"]


def test_nothing_is_started_or_charged_while_a_job_waits_for_another() -> None:
    decision = decide(observed(job(**OF_MODEL), earlier=(EarlierFacts(problem="model.fineTuneJob: the job first runs"),)))
    accepted = condition(decision, ConditionType.ACCEPTED)
    assert (accepted.status, accepted.reason) == ("False", Reason.EARLIER_JOB_NOT_READY)
    assert "the job first runs" in accepted.message
    assert (decision.actions, decision.status.attempts, decision.status.phase) == ((), None, "Waiting")


def test_which_job_was_found_is_written_with_the_first_attempt_and_before_anything_of_it_exists() -> None:
    ready = (EarlierFacts(pin()),)
    first = decide(observed(job(**OF_MODEL), earlier=ready))
    assert (last_attempt(first).number, first.actions, first.status.earlier_jobs) == (1, (), [pin()])
    second = decide(observed(job(**OF_MODEL, status=after(first)), earlier=ready))
    assert second.actions == (CreateAttempt(1),)


def test_what_an_edit_removed_from_status_is_written_again_before_an_attempt_is_created() -> None:
    ready = (EarlierFacts(pin()),)
    decision = decide(observed(job(**OF_MODEL, status=status(attempt(start_time=None))), earlier=ready))
    assert (decision.actions, decision.status.earlier_jobs) == ((), [pin()])
    assert decision.requeue_after


@pytest.mark.parametrize(("sections", "field"), [(OF_MODEL, MODEL_OF_JOB), (OF_RUN, CONTINUED_JOB)], ids=["model", "run"])
def test_the_trainer_is_told_where_the_output_of_that_very_job_is(sections: dict[str, Any], field: str) -> None:
    begun = job(**sections, status=status(attempt(), earlier_jobs=[pin(field)]))
    config, folder = train_config(begun, 1), "/mnt/claims/models/team/first-aaaabbbb"
    assert run_of(begun, NamedJob(field, "first")).path == folder
    if field == MODEL_OF_JOB:
        assert config.model.to_wire().items() >= {
            "path": f"{folder}/model/merged", "fineTuneJob": {"name": "first", "uid": FIRST_UID, "path": folder},
        }.items()  # fmt: skip
    else:
        assert config.continue_from is not None
        assert config.continue_from.to_wire() == {"fineTuneJob": {"name": "first", "uid": FIRST_UID, "path": folder}}
    assert config.output.directory == "/mnt/claims/models/bot-0123abcd"


def mounts(of: Job) -> list[tuple[str, str, str, bool]]:
    """Return claim, path in the container, path on the claim and whether it is read-only, of every mount of a claim in a worker."""
    item = objects_of(of, 1, Settings(), {})[-1].item
    spec = item["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    volumes = {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in spec["volumes"] if "persistentVolumeClaim" in v}
    return [
        (volumes[mount["name"]], mount["mountPath"], mount.get("subPath", ""), mount["readOnly"])
        for mount in spec["containers"][0]["volumeMounts"]
        if mount["name"] in volumes
    ]


def test_what_lies_on_the_jobs_own_claim_is_one_volume_with_a_second_mount_that_is_only_read() -> None:
    begun = job(**OF_MODEL, **OF_RUN, status=status(attempt(), earlier_jobs=[pin(), pin(CONTINUED_JOB)]))
    folder = "team/first-aaaabbbb"
    assert mounts(begun) == [("models", "/mnt/claims/models", "", False), ("models", f"/mnt/claims/models/{folder}", folder, True)]


def test_another_claim_is_mounted_to_be_read_only() -> None:
    begun = job(**OF_MODEL, status=status(attempt(), earlier_jobs=[pin(claim="archive")]))
    assert claims(begun) == [("archive", True), ("models", False)]
    assert mounts(begun) == [("archive", "/mnt/claims/archive", "", True), ("models", "/mnt/claims/models", "", False)]


async def test_a_job_starts_when_the_other_has_succeeded_and_goes_on_without_it() -> None:
    world = World(**OF_MODEL)
    assert await world.step() is None
    assert world.condition("Accepted")["reason"] == "EarlierJobNotReady"
    world.api.put(FINE_TUNE_JOBS, stored(state=running()))
    await world.step()
    assert world.ray_jobs() == []
    world.api.put(FINE_TUNE_JOBS, stored(state=SUCCEEDED))
    await world.step()
    assert world.status["earlierJobs"][0]["uid"] == FIRST_UID
    world.api.remove(FINE_TUNE_JOBS, "team", "first")
    await world.step()
    assert world.ray_jobs() == ["bot-1"]
    config = next(item for item in world.api.objects(CONFIG_MAPS) if item["metadata"]["name"] == "bot-1-config")
    assert "/mnt/claims/models/team/first-aaaabbbb/model/merged" in config["data"]["config.json"]


async def test_the_list_of_models_holds_for_the_model_that_an_earlier_job_began_with() -> None:
    world = World(**OF_MODEL)
    world.api.put(FINE_TUNE_JOBS, stored(state=SUCCEEDED, model={"name": "org/model"}))
    world.restart(Settings(allowed_models=("Qwen/*",)))
    await world.step()
    words = "model.fineTuneJob: org/model, which that job began with, is not allowed by the administrator; allowed models: Qwen/*"
    assert words in world.condition("Accepted")["message"]
    await world.step()
    assert world.ray_jobs() == []

    world.restart(Settings(allowed_models=("Qwen/*", "org/*")))
    for _ in range(2):
        await world.step()
    assert world.ray_jobs() == ["bot-1"]


def test_the_model_that_jobs_began_with_is_found_along_their_chain() -> None:
    on_claim = {"model": {"persistentVolumeClaim": {"claimName": "weights", "path": "llama"}}}
    items = {name: stored(name, **model) for name, model in {"first": OF_SECOND, "second": on_claim}.items()}
    base = base_of(job(**OF_MODEL), items.get)
    assert base is not None
    assert base.model.persistent_volume_claim == ClaimPath(claim_name="weights", path="llama")
    [words] = refusals(job(**OF_MODEL).valid_spec, Settings(allowed_models=("Qwen/*",)), base)
    assert words.startswith("model.fineTuneJob: claim:weights/llama, which that job began with, is not allowed")


def test_the_model_of_an_earlier_job_that_is_gone_or_was_created_again_is_not_known() -> None:
    pinned = job(**OF_MODEL, status=status(earlier_jobs=[pin()]))
    assert base_of(pinned, {"first": stored(model={"name": "org/model"})}.get) is not None
    assert base_of(pinned, {"first": stored(uid="another", model={"name": "org/model"})}.get) is None
    assert base_of(pinned, {}.get) is None
    assert base_of(job(model={"name": "org/model"}), {}.get) is None
    circle = {"first": stored("first", **OF_SECOND), "second": stored("second", **OF_MODEL)}
    assert base_of(job(**OF_MODEL), circle.get) is None


NEEDS = stored("second", **OF_MODEL)


@pytest.mark.parametrize(
    ("other", "needs"),
    [
        (NEEDS, True),
        (stored("second", **OF_MODEL, runPolicy={"suspend": True}), True),
        (stored("second", **OF_RUN), True),
        (stored("second", **OF_MODEL, state=status(earlier_jobs=[pin()]).to_wire()), False),
        (stored("second", **OF_MODEL, state=status(earlier_jobs=[pin(uid="of-before")]).to_wire()), False),
        (stored("second", **OF_MODEL, **OF_RUN, state=status(earlier_jobs=[pin()]).to_wire()), True),
        (stored("second", **OF_MODEL, state=FAILED.to_wire()), False),
        (deleted(NEEDS), False),
        (stored("second", **OF_MODEL, runPolicy={"managedBy": "example.com/other"}), False),
        (stored("second", **OF_MODEL, state={"attempts": "many"}), True),
        (stored("second", model={"fineTuneJob": {"name": "third"}}), False),
    ],
    ids=[
        "waits", "suspended", "continues", "has found it", "has found one before it", "has found one of two", "has failed", "is deleted",
        "managed elsewhere", "odd status", "another",
    ],
)  # fmt: skip
def test_a_job_is_needed_until_those_that_start_from_it_have_found_it(other: KubeObject, needs: bool) -> None:
    assert needed_by(stored(state=SUCCEEDED), [other]) == (("second",) if needs else ())


@pytest.mark.parametrize(
    "item",
    [stored(state=FAILED.to_wire()), stored(state=SUCCEEDED, output__export=["adapter"])],
    ids=["failed", "no model"],
)
def test_a_job_that_nothing_can_start_from_is_not_needed(item: KubeObject) -> None:
    assert needed_by(item, [NEEDS]) == ()


async def test_a_suspended_job_starts_from_one_that_its_time_to_live_has_removed() -> None:
    world = World(**OF_MODEL, runPolicy={"suspend": True})
    world.api.put(FINE_TUNE_JOBS, stored(state=SUCCEEDED, runPolicy={"ttlSecondsAfterFinished": 0}))
    world.catch_up()

    async def first_is_there() -> bool:
        world.catch_up()
        await world.reconciler.reconcile("team/first")
        return any(item["metadata"]["name"] == "first" for item in world.api.objects(FINE_TUNE_JOBS))

    assert await first_is_there()
    await world.step()
    assert world.status["earlierJobs"][0]["uid"] == FIRST_UID
    assert not await first_is_there()
    world.change_job({"runPolicy": {"suspend": False}})
    for _ in range(3):
        await world.step()
    assert world.ray_jobs() == ["bot-1"]


async def test_a_claim_that_is_gone_is_named_with_the_job_that_wrote_to_it() -> None:
    world = World(**OF_MODEL)
    world.api.put(FINE_TUNE_JOBS, stored(state=SUCCEEDED, output={"persistentVolumeClaim": {"claimName": "archive"}, "export": ["merged"]}))
    await world.step()
    assert (
        "model.fineTuneJob: there is no PersistentVolumeClaim archive in namespace team, which the job first wrote to"
        in (world.condition("Accepted")["message"])
    )
    world.api.put(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "archive", "namespace": "team"}})
    for _ in range(2):
        await world.step()
    assert [item["metadata"]["name"] for item in world.api.objects(RAY_JOBS)] == ["bot-1"]
