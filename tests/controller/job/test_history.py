"""Attempts that only their objects still show."""

from datetime import timedelta
from typing import Any

import pytest

from controller.job.history import ProgressFacts, rebuilt
from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.runtime.resources import CONFIG_MAPS
from finetune.api.attempts import KEPT
from finetune.api.status import AttemptOutcome, Condition, FineTuneJobStatus, Summary
from tests.controller.job.builders import NOW, attempt, job, observed, ray_job, record_text, status
from tests.controller.job.decisions import decide
from tests.controller.job.world import World

SUCCESS = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 9.6"}


def report(number: int = 1, **fields: Any) -> ProgressFacts:
    return ProgressFacts(number, NOW - timedelta(minutes=5), record_text(attempt=number, **fields))


def entries(of: FineTuneJobStatus) -> list[tuple[int, str | None]]:
    return [(each.number, each.outcome) for each in of.attempts or []]


def test_a_status_that_knows_its_attempts_is_left_as_it_is() -> None:
    known = job(status=status(attempt(1, outcome="Failed"), attempt(2)))
    assert rebuilt(known, [ray_job(1, "FAILED", "Failed"), ray_job(2)], [report(1), report(2)]) is known.status


@pytest.mark.parametrize(
    ("known", "ray_jobs", "reports", "expected"),
    [
        ([], [ray_job()], [], [(1, None)]),
        ([], [ray_job(1, "SUCCEEDED", "Complete")], [], [(1, None)]),
        ([], [], [report(1, outcome=SUCCESS)], [(1, None)]),
        ([], [ray_job(1, "FAILED", "Failed"), ray_job(2)], [], [(1, "Failed"), (2, None)]),
        ([], [ray_job(2)], [report(1)], [(1, "Interrupted"), (2, None)]),
        ([], [ray_job(1), ray_job(2)], [], [(1, "Interrupted"), (2, None)]),
        ([], [ray_job(2)], [report(1, outcome={"result": "Failed", "reason": "OutOfMemory", "message": "m"})], [(1, "Failed"), (2, None)]),
        ([], [ray_job(2)], [ProgressFacts(1, NOW, "{")], [(1, "Interrupted"), (2, None)]),
        ([attempt(1, outcome="Failed")], [ray_job(1, "FAILED", "Failed"), ray_job(2)], [], [(1, "Failed"), (2, None)]),
        ([attempt(2), attempt(1, outcome="Failed"), attempt(2)], [ray_job(2)], [], [(1, "Failed"), (2, None)]),
        ([attempt(1, outcome="Failed")], [ray_job(1, "SUCCEEDED", "Complete")], [], [(1, None)]),
        ([attempt(1, outcome="Suspended")], [ray_job(1, "SUCCEEDED", "Complete")], [], [(1, None)]),
        ([attempt(1, outcome="Succeeded")], [ray_job(1, "FAILED", "Failed")], [], [(1, "Succeeded")]),
        ([attempt(1)], [ray_job()], [report(7, outcome=SUCCESS)], [(1, None)]),
        ([], [ray_job()], [report(7, outcome=SUCCESS)], [(1, None)]),
        ([attempt(1)], [ray_job(1), ray_job(2)], [], [(1, "Interrupted"), (2, None)]),
        ([attempt(1), attempt(2)], [ray_job(2)], [report(1, outcome=SUCCESS)], [(1, "Succeeded"), (2, None)]),
    ],
    ids=[
        "one that runs", "one that has succeeded", "its RayJob was cleared away", "one before it failed", "one before it left a report",
        "one before it still runs", "one before it reported how it ended", "a report that cannot be read", "the newest was lost",
        "out of order and twice", "called failed although it succeeded", "called suspended although it succeeded", "a success stays one",
        "a report of an attempt that never was", "the same where attempts were lost", "one before the one that was found", "one left open",
    ],
)  # fmt: skip
def test_attempts_are_what_status_and_children_show(
    known: list[Any], ray_jobs: list[Any], reports: list[ProgressFacts], expected: list[tuple[int, str | None]]
) -> None:
    assert entries(rebuilt(job(status=status(*known)), ray_jobs, reports)) == expected


@pytest.mark.parametrize(
    "lost",
    [
        {"summary": Summary(attempt=2)},
        {"report_cursor": "2/bot-2-x7k2p/9"},
        {"report_cursor": "1/bot-1-x7k2p/9"},
    ],
    ids=["the summary", "the cursor", "neither"],
)
def test_a_report_shows_an_attempt_that_the_rest_of_the_status_knows(lost: dict[str, Any]) -> None:
    known = job(status=status(attempt(1, outcome="Failed"), **lost))
    numbers = [each.number for each in rebuilt(known, [], [report(2, outcome=SUCCESS)]).attempts or []]
    assert numbers == ([1] if "1/" in str(lost) else [1, 2])


def said(kind: str) -> Condition:
    return Condition(type=kind, status="True", reason="Why", message="words", last_transition_time=NOW)


@pytest.mark.parametrize("kind", ["Succeeded", "Failed"])
@pytest.mark.parametrize(
    ("known", "ray_jobs", "reports"),
    [
        ([], [], [report(2)]),
        ([], [], [ProgressFacts(2, NOW)]),
        ([], [], [ProgressFacts(2, NOW, "{")]),
        ([], [ray_job(2, "FAILED", "Failed")], [report(2)]),
        ([attempt(1, outcome="Failed")], [ray_job(2, "FAILED", "Failed")], []),
    ],
    ids=["without a last word", "never reported", "unreadable", "its RayJob is final", "only the newest was lost"],
)
def test_an_attempt_that_was_lost_ended_as_the_condition_says(
    kind: str, known: list[Any], ray_jobs: list[Any], reports: list[ProgressFacts]
) -> None:
    found = (rebuilt(job(status=status(*known, conditions=[said(kind)])), ray_jobs, reports).attempts or [])[-1]
    assert (found.number, found.outcome, found.job_reason, found.end_time) == (2, kind, "Why", NOW)


@pytest.mark.parametrize(("ray_jobs", "number"), [([ray_job(2)], 2), ([ray_job(1), ray_job(2, "FAILED", "Failed")], 2)])
def test_a_ray_job_that_runs_contradicts_the_condition(ray_jobs: list[Any], number: int) -> None:
    [*_, found] = rebuilt(job(status=status(conditions=[said("Succeeded")])), ray_jobs, []).attempts or []
    assert (found.number, found.outcome) == (number, None)


def test_a_ray_job_that_has_succeeded_outdoes_a_condition_that_says_failed() -> None:
    [found] = rebuilt(job(status=status(conditions=[said("Failed")])), [ray_job(1, "SUCCEEDED", "Complete")], []).attempts or []
    assert found.outcome is None


def test_an_attempt_that_was_never_seen_to_start_is_started_once_more() -> None:
    [found] = rebuilt(job(), [], [ProgressFacts(1, NOW)]).attempts or []
    assert (found.start_time, found.outcome) == (None, None)


def test_the_name_of_a_ray_job_is_not_believed() -> None:
    [found] = rebuilt(job(status=status(attempt().model_copy(update={"ray_job_name": "of-another"}))), [], []).attempts or []
    assert found.ray_job_name == "bot-1"


def test_a_bounded_number_of_attempts_comes_back() -> None:
    assert len(rebuilt(job(), [ray_job(number) for number in range(1, 300)], []).attempts or []) == KEPT


async def finished_world() -> World:
    """A job whose second attempt has succeeded, after a first one that failed."""
    world = World()
    for _ in range(3):
        await world.step()
    world.put_ray_job(1, "FAILED", "Failed")
    await world.step()
    world.now += timedelta(minutes=1)
    for _ in range(3):
        await world.step()
    world.put_ray_job(2, "SUCCEEDED", "Complete")
    text = record_text(attempt=2, cluster="bot-2-x7k2p", outcome=SUCCESS, stage="Finished", metrics={"final": {"perplexity": 9.6}})
    world.put_child(CONFIG_MAPS, "bot-2-progress-0123abcd", 2, data={"record.json": text})
    await world.step()
    assert world.condition("Succeeded")["status"] == "True"
    return world


def test_a_suspended_job_that_has_lost_its_figures_gets_them_back_and_rests_on() -> None:
    word = {"result": "Interrupted", "reason": "Interrupted", "message": "asked to stop"}
    known = status(attempt(1, outcome="Suspended", end_time=NOW))
    decision = decide(observed(job(status=known, runPolicy={"suspend": True}), record=record_text(outcome=word)))
    assert (decision.status.phase, decision.actions) == ("Suspended", ())
    assert decision.status.attempts is not None
    assert len(decision.status.attempts) == 1
    progress = decision.status.progress
    assert progress is not None
    assert (progress.step, progress.eta_seconds, progress.tokens_per_second) == (20, None, None)


@pytest.mark.parametrize(
    "left",
    [(), ("conditions",), ("attempts",), ("attempts", "conditions"), ("phase", "observedGeneration"), ("metrics", "progress", "attempts")],
    ids=["nothing", "conditions", "attempts", "both", "words", "without a cursor"],
)
@pytest.mark.parametrize("cleared", [False, True], ids=["RayJobs are there", "RayJobs were cleared away"])
async def test_a_finished_job_whose_status_was_edited_trains_never_again(left: tuple[str, ...], cleared: bool) -> None:
    world = await finished_world()
    before = world.status
    if cleared:
        for name in world.ray_jobs():
            world.api.remove(RAY_JOBS, "team", name)
    item = world.api.objects(FINE_TUNE_JOBS)[0]
    world.api.put(FINE_TUNE_JOBS, {**item, "status": {name: before[name] for name in left if name in before}})
    written = len([write for write in world.writes() if write.startswith("POST")])
    world.now += timedelta(hours=2)
    for _ in range(6):
        await world.step()
    assert [write for write in world.writes() if write.startswith("POST")][written:] == []
    assert world.condition("Succeeded")["status"] == "True"
    assert world.status["phase"] == "Succeeded"
    assert [each["number"] for each in world.status["attempts"]][-1] == 2
    assert world.status["attempts"][-1]["outcome"] == AttemptOutcome.SUCCEEDED
    assert world.status["metrics"]["final"] == {"perplexity": "9.6"}


@pytest.mark.parametrize(
    "progress",
    [{"record.json": record_text(attempt=2, cluster="bot-2-x7k2p")}, {"record.json": "{"}, {}, None],
    ids=["the last report never came", "it was spoilt", "nothing was ever reported", "it is gone"],
)
@pytest.mark.parametrize("good", [True, False], ids=["succeeded", "failed"])
async def test_a_finished_job_that_has_lost_its_attempts_and_their_last_word_trains_never_again(
    good: bool, progress: dict[str, str] | None
) -> None:
    world = await finished_world()
    world.api.remove(CONFIG_MAPS, "team", "bot-2-progress-0123abcd")
    if progress is not None:
        world.put_child(CONFIG_MAPS, "bot-2-progress-0123abcd", 2, data=progress, immutable=True)
    for name in world.ray_jobs():
        world.api.remove(RAY_JOBS, "team", name)
    item = world.api.objects(FINE_TUNE_JOBS)[0]
    left = {name: value for name, value in world.status.items() if name != "attempts"}
    if not good:
        values = {"Succeeded": "False", "Failed": "True"}
        left["conditions"] = [{**each, "status": values.get(each["type"], each["status"])} for each in left["conditions"]]
    world.api.put(FINE_TUNE_JOBS, {**item, "status": left})
    written = len([write for write in world.writes() if write.startswith("POST")])
    world.now += timedelta(hours=2)
    for _ in range(6):
        await world.step()
    assert [write for write in world.writes() if write.startswith("POST")][written:] == []
    assert world.status["phase"] == ("Succeeded" if good else "Failed")
    if progress is not None:
        last = world.status["attempts"][-1]
        assert (last["number"], last["outcome"]) == (2, "Succeeded" if good else "Failed")


@pytest.mark.parametrize("forged", [False, True], ids=["without an owner", "with the job as its owner"])
async def test_a_config_map_that_somebody_creates_ends_no_job_and_starts_no_attempt(forged: bool) -> None:
    world = World()
    for _ in range(2):
        await world.step()
    world.put_ray_job(1)
    await world.step()
    record = record_text(attempt=7, cluster="bot-7-x7k2p", outcome=SUCCESS, stage="Finished")
    world.put_child(CONFIG_MAPS, "bot-7-progress-0123abcd", 7, data={"record.json": record})
    if not forged:
        world.edit(CONFIG_MAPS, "bot-7-progress-0123abcd", ownerReferences=[])
    for _ in range(3):
        await world.step()
    assert world.ray_jobs() == ["bot-1"]
    assert world.status["phase"] == "Running"
    assert [(each["number"], each.get("outcome")) for each in world.status["attempts"]] == [(1, None)]
    # Nor does it when nothing else is left that shows attempts.
    item = world.api.objects(FINE_TUNE_JOBS)[0]
    world.api.put(FINE_TUNE_JOBS, {**item, "status": {}})
    await world.step()
    assert [(each["number"], each.get("outcome")) for each in world.status["attempts"]] == [(1, None)]
    assert world.status["phase"] == "Running"


async def test_a_config_map_without_an_owner_is_no_history_of_a_job_that_has_none() -> None:
    world = World()
    record = record_text(outcome=SUCCESS, stage="Finished")
    world.put_child(CONFIG_MAPS, "bot-1-progress-0123abcd", 1, data={"record.json": record})
    world.edit(CONFIG_MAPS, "bot-1-progress-0123abcd", ownerReferences=[])
    await world.step()
    assert world.status["attempts"] == [{"number": 1, "rayJobName": "bot-1"}]
    assert world.status["phase"] == "Starting"
