"""Attempts that only children still tell of."""

from datetime import timedelta
from typing import Any

import pytest

from controller.api.status import AttemptOutcome, FineTuneJobStatus
from controller.job.history import ProgressFacts, rebuilt
from controller.runtime.resources import CONFIG_MAPS
from controller.stores import FINE_TUNE_JOBS, RAY_JOBS
from tests.controller.job.builders import NOW, attempt, job, observed, ray_job, record_text, status
from tests.controller.job.decisions import decide
from tests.controller.job.world import World

SUCCESS = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 9.6"}


def told(number: int = 1, **fields: Any) -> ProgressFacts:
    return ProgressFacts(number, NOW - timedelta(minutes=5), record_text(attempt=number, **fields))


def entries(of: FineTuneJobStatus) -> list[tuple[int, str | None]]:
    return [(each.number, each.outcome) for each in of.attempts or []]


def test_a_status_that_knows_its_attempts_is_left_as_it_is() -> None:
    known = job(status=status(attempt(1, outcome="Failed"), attempt(2)))
    assert rebuilt(known, [ray_job(1, "FAILED", "Failed"), ray_job(2)], [told(1), told(2)]) is known.status


@pytest.mark.parametrize(
    ("known", "ray_jobs", "reports", "expected"),
    [
        ([], [ray_job()], [], [(1, None)]),
        ([], [ray_job(1, "SUCCEEDED", "Complete")], [], [(1, None)]),
        ([], [], [told(1, outcome=SUCCESS)], [(1, None)]),
        ([], [ray_job(1, "FAILED", "Failed"), ray_job(2)], [], [(1, "Failed"), (2, None)]),
        ([], [ray_job(2)], [told(1)], [(1, "Interrupted"), (2, None)]),
        ([], [ray_job(1), ray_job(2)], [], [(1, "Interrupted"), (2, None)]),
        ([], [ray_job(2)], [told(1, outcome={"result": "Failed", "reason": "OutOfMemory", "message": "m"})], [(1, "Failed"), (2, None)]),
        ([], [ray_job(2)], [ProgressFacts(1, NOW, "{")], [(1, "Interrupted"), (2, None)]),
        ([attempt(1, outcome="Failed")], [ray_job(1, "FAILED", "Failed"), ray_job(2)], [], [(1, "Failed"), (2, None)]),
        ([attempt(2), attempt(1, outcome="Failed"), attempt(2)], [ray_job(2)], [], [(1, "Failed"), (2, None)]),
        ([attempt(1, outcome="Failed")], [ray_job(1, "SUCCEEDED", "Complete")], [], [(1, None)]),
        ([attempt(1, outcome="Suspended")], [ray_job(1, "SUCCEEDED", "Complete")], [], [(1, None)]),
        ([attempt(1, outcome="Succeeded")], [ray_job(1, "FAILED", "Failed")], [], [(1, "Succeeded")]),
    ],
    ids=[
        "one that runs", "one that has succeeded", "its RayJob was cleared away", "one before it failed", "one before it left a report",
        "one before it still runs", "one before it told how it ended", "a report that cannot be read", "the newest was lost",
        "out of order and twice", "called failed although it succeeded", "called suspended although it succeeded", "a success stays one",
    ],
)  # fmt: skip
def test_attempts_are_what_status_and_children_tell_of(
    known: list[Any], ray_jobs: list[Any], reports: list[ProgressFacts], expected: list[tuple[int, str | None]]
) -> None:
    assert entries(rebuilt(job(status=status(*known)), ray_jobs, reports)) == expected


def test_an_attempt_that_was_never_seen_to_start_is_started_once_more() -> None:
    [found] = rebuilt(job(), [], [ProgressFacts(1, NOW)]).attempts or []
    assert (found.start_time, found.outcome) == (None, None)


def test_the_name_of_a_ray_job_is_not_believed() -> None:
    [found] = rebuilt(job(status=status(attempt().model_copy(update={"ray_job_name": "of-another"}))), [], []).attempts or []
    assert found.ray_job_name == "bot-1"


def test_a_bounded_number_of_attempts_comes_back() -> None:
    assert len(rebuilt(job(), [ray_job(number) for number in range(1, 300)], []).attempts or []) == 100


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
    word = {"result": "Interrupted", "reason": "Interrupted", "message": "told to stop"}
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
