"""Whether a queue holds an attempt back, and in which words."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.job.facts import Kueue, WorkloadFacts
from controller.job.queueing import PATIENCE, hold_of, is_held
from controller.job.situation import Situation
from finetune.api.status import FineTuneJobStatus
from tests.controller.job.builders import NOW, attempt, job, observed, ray_job, status

PENDING = WorkloadFacts("w", "team-a", reason="Pending", message="8 cpu are missing")
PREEMPTED = WorkloadFacts("w", "team-a", evicted=True, reason="Preempted", message="for a workload of more priority")
ADMITTED = WorkloadFacts("w", "team-a", "gpus", admitted=True)


def situation(*, created: timedelta = timedelta(0), **fields: Any) -> Situation:
    facts = {"queue": "team-a", "suspended": True, "created": NOW - created, "cluster": "", **fields.pop("ray_job", {})}
    known: FineTuneJobStatus = status(attempt())
    return Situation(observed(job(status=known), ray_job(1, "", "Suspended", **facts), **fields), known, NOW)


@pytest.mark.parametrize(
    ("words", "suspended", "workload", "held"),
    [
        (("", ""), True, None, True),
        (("", "Suspended"), True, PENDING, True),
        (("RUNNING", "Running"), True, PREEMPTED, True),
        (("RUNNING", "Suspending"), True, PREEMPTED, True),
        (("", "Suspended"), False, PREEMPTED, True),
        (("", "Suspended"), False, ADMITTED, False),
        (("", "Initializing"), False, ADMITTED, False),
        (("RUNNING", "Running"), False, None, False),
    ],
    ids=["new", "waits", "evicted", "going", "gone", "just admitted", "starts", "without a queue"],
)
def test_a_suspended_ray_job_is_held(words: tuple[str, str], suspended: bool, workload: WorkloadFacts | None, held: bool) -> None:
    assert is_held(ray_job(1, *words, suspended=suspended), workload) is held


def test_kueues_reason_and_words_are_repeated_with_the_queue_and_the_time() -> None:
    hold = hold_of(situation(workload=PENDING))
    assert hold is not None
    assert (hold.in_queue, hold.reason) == (True, "Pending")
    assert hold.message == "attempt 1 waits in the queue team-a since 2026-03-01 12:00:00 UTC: 8 cpu are missing"


def test_an_evicted_attempt_goes_on() -> None:
    hold = hold_of(situation(workload=PREEMPTED))
    assert hold is not None
    assert hold.reason == "Preempted"
    assert hold.message == (
        "attempt 1 was evicted and waits again in the queue team-a since 2026-03-01 12:00:00 UTC; it goes on from the last checkpoint: "
        "for a workload of more priority"
    )


def test_without_kueue_the_job_says_what_to_install() -> None:
    hold = hold_of(situation(kueue=Kueue.ABSENT))
    assert hold is not None
    assert (hold.in_queue, hold.reason) == (False, "KueueMissing")
    assert "the RayJob bot-1 is suspended for the queue team-a" in hold.message
    assert "serves no Workloads (kueue.x-k8s.io/v1beta2): install Kueue 0.15 or newer" in hold.message
    assert "or set the label kueue.x-k8s.io/queue-name of the job to the empty text" in hold.message


def test_a_workload_that_does_not_come_is_missed_after_a_while() -> None:
    before, after = (hold_of(situation(kueue=Kueue.WATCHED, created=age)) for age in (PATIENCE - timedelta(seconds=1), PATIENCE))
    assert before is not None
    assert after is not None
    assert (before.in_queue, before.reason, before.message) == (True, "Queued", "attempt 1 waits in the queue team-a")
    assert (after.in_queue, after.reason) == (False, "WorkloadMissing")
    assert "no Workload was made for it: have Kueue run with ray.io/rayjob among its integrations.frameworks" in after.message


MISSING = WorkloadFacts("w", "nope", in_vain=True, reason="Inadmissible", message="LocalQueue nope doesn't exist")


def test_what_nobody_is_going_to_admit_is_in_no_queue_and_says_what_to_do() -> None:
    hold = hold_of(situation(workload=MISSING))
    assert hold is not None
    assert (hold.in_queue, hold.reason) == (False, "Inadmissible")
    assert hold.message == (
        "attempt 1 is not going to be admitted from the queue nope: LocalQueue nope doesn't exist; put that right, or name another queue "
        "in the label of the job, suspend the job and resume it"
    )
    evicted = hold_of(situation(workload=replace(MISSING, evicted=True)))
    assert evicted is not None
    assert "was evicted and is not going to be admitted from the queue nope; it goes on from the last checkpoint: Local" in evicted.message


def test_without_the_right_to_see_workloads_the_job_says_which_one_is_missing() -> None:
    hold = hold_of(situation(kueue=Kueue.FORBIDDEN, created=timedelta(hours=1)))
    assert hold is not None
    assert (hold.in_queue, hold.reason) == (True, "Queued")
    assert "waits in the queue team-a; why is not known, because the controller may not list and watch workloads.kueue" in hold.message


def test_while_workloads_are_not_known_nobody_is_blamed() -> None:
    hold = hold_of(situation(kueue=Kueue.UNKNOWN, created=timedelta(hours=1)))
    assert hold is not None
    assert (hold.in_queue, hold.reason, hold.message) == (True, "Queued", "attempt 1 waits in the queue team-a")


def test_a_ray_job_without_a_queue_is_suspended_by_somebody_else() -> None:
    assert hold_of(situation(ray_job={"queue": ""}, kueue=Kueue.WATCHED)) is None
    assert hold_of(situation(ray_job={"queue": ""}, workload=PENDING)) is not None, "Kueue may be told to take what has no label"
