"""A job that waits for longer than it may fails and says what it waited for."""

from datetime import timedelta
from typing import Any

import pytest

from controller.job.facts import Missing, Observed
from finetune.api.status import AttemptOutcome, ConditionType
from tests.controller.job.builders import NOW, attempt, job, observed, pod, ray_job, record_text, status
from tests.controller.job.decisions import after, condition, decide, deletion, ended, last_attempt

LIMIT: dict[str, Any] = {"runPolicy": {"pendingDeadlineSeconds": 300}}
UNSCHEDULABLE = pod(waiting_reason="Unschedulable", waiting_message="0/5 nodes are available: 5 Insufficient nvidia.com/gpu")


def waiting(**fields: Any) -> Observed:
    """What is seen of an attempt that waits for a node."""
    return observed(job(**LIMIT, status=status(attempt())), ray_job(1, "", "Initializing"), pods=[UNSCHEDULABLE], **fields)


def again(what: Observed, seconds: float) -> Any:
    """Decide twice, the second time so many seconds later over the status of the first."""
    first = decide(what)
    return decide(observed(job(**LIMIT, status=after(first)), *what.ray_jobs, pods=what.pods, missing=what.missing), seconds)


def test_the_status_says_since_when_the_job_waits_until_it_reports() -> None:
    first = decide(waiting())
    assert first.status.waiting_since is not None
    silent = decide(observed(job(**LIMIT, status=after(first)), ray_job()), 20)
    assert silent.status.waiting_since == first.status.waiting_since
    reports = decide(observed(job(**LIMIT, status=after(silent)), ray_job(), record=record_text()), 30)
    assert reports.status.waiting_since is None


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (waiting(), "attempt 1: pod bot-1-worker waits: Unschedulable: 0/5 nodes are available: 5 Insufficient nvidia.com/gpu"),
        (
            observed(job(**LIMIT), missing=(Missing("output: there is no PersistentVolumeClaim models", watched=True),)),
            "there is no Persist",
        ),
        (observed(job(**LIMIT, status=status(attempt())), ray_job()), "the trainer's first report; attempt 1 runs in the Ray cluster"),
    ],
    ids=["no node", "no claim", "no report"],
)
def test_a_job_that_waits_for_too_long_fails_with_what_it_waited_for(what: Observed, words: str) -> None:
    early = again(what, 299)
    assert early.due_within == 1
    late = again(what, 300)
    verdict = condition(late, ConditionType.FAILED)
    assert (verdict.status, verdict.reason) == ("True", "PendingDeadlineExceeded")
    assert words in verdict.message
    assert late.actions == ()
    assert late.status.phase == "Failed"


def test_what_was_created_goes_once_the_end_is_written_down() -> None:
    late = again(waiting(), 300)
    assert last_attempt(late).outcome is AttemptOutcome.FAILED
    tidied = decide(observed(job(**LIMIT, status=after(late)), ray_job(1, "", "Initializing")), 301)
    assert tidied.actions == (deletion(1),)


def test_an_attempt_that_a_queue_evicted_and_admitted_again_waits_for_its_first_report_in_the_new_cluster() -> None:
    known = decide(observed(job(**LIMIT, status=status(attempt())), ray_job(), record=record_text())).status
    assert known.waiting_since is None

    def later(seconds: int, *words: str, cluster: str = "bot-1-second", record: str | None = None) -> Any:
        return decide(observed(job(**LIMIT, status=known), ray_job(1, *words, cluster=cluster), record=record), seconds)

    known = later(10, "", "Suspended", cluster="").status
    assert known.waiting_since is None
    known = later(20, "", "Initializing").status
    assert known.waiting_since == NOW + timedelta(seconds=20)
    # What the evicted cluster reported is no report of this one.
    known = later(30, record=record_text(sequence=9)).status
    assert (known.phase, known.waiting_since) == ("Running", NOW + timedelta(seconds=20))
    assert later(319).due_within == 1
    late = condition(later(320), ConditionType.FAILED)
    assert (late.reason, "the trainer's first report" in late.message) == ("PendingDeadlineExceeded", True)
    assert later(40, record=record_text(cluster="bot-1-second", sequence=1)).status.waiting_since is None


def test_a_restart_that_no_pass_saw_is_waited_for_too() -> None:
    known = decide(observed(job(**LIMIT, status=status(attempt())), ray_job(), record=record_text())).status
    elsewhere = decide(observed(job(**LIMIT, status=known), ray_job(cluster="bot-1-second")), 10)
    assert elsewhere.status.waiting_since == NOW + timedelta(seconds=10)


@pytest.mark.parametrize(
    "what",
    [
        observed(job(**LIMIT, status=status(attempt())), ray_job(1, "", "Suspended")),
        observed(job(runPolicy={"suspend": True, "pendingDeadlineSeconds": 300})),
        observed(job(**LIMIT, status=status(attempt())), ray_job(), record=record_text()),
    ],
    ids=["in a queue", "suspended", "reports"],
)
def test_only_waiting_counts(what: Observed) -> None:
    known = after(decide(what))
    assert known.waiting_since is None
    later = decide(observed(job(runPolicy=dict(what.job.run_policy.to_wire()), status=known), *what.ray_jobs), 10**6)
    assert later.status.phase != "Failed"


@pytest.mark.parametrize("reports", [True, False], ids=["trains", "waits for a node"])
def test_an_attempt_that_has_begun_is_not_ended_because_no_ray_jobs_are_served(reports: bool) -> None:
    known = after(decide(observed(job(**LIMIT, status=status(attempt())), ray_job(), record=record_text()) if reports else waiting()))
    assert (known.waiting_since is None) is reports
    for seconds in (300, 601, 10**6):
        away = decide(observed(job(**LIMIT, status=known), pods=[pod(role="head")], kuberay_installed=False), seconds)
        assert (away.status.phase, away.status.waiting_since, last_attempt(away).outcome) == ("Waiting", None, None)
        known = after(away)
    back = decide(observed(job(**LIMIT, status=known), ray_job(1, "", "Initializing"), pods=[UNSCHEDULABLE]), 10**6 + 1)
    assert back.status.waiting_since == NOW + timedelta(seconds=10**6 + 1)


def test_an_attempt_that_has_not_begun_waits_for_ray_jobs_only_so_long() -> None:
    known = after(decide(observed(job(**LIMIT), kuberay_installed=False)))
    late = decide(observed(job(**LIMIT, status=known), kuberay_installed=False), 300)
    assert "the cluster serves no RayJobs" in condition(late, ConditionType.FAILED).message


def test_a_pause_before_another_attempt_does_not_count_and_each_attempt_waits_anew() -> None:
    first = decide(waiting())
    failed = decide(observed(job(**LIMIT, status=after(first)), ray_job(1, "FAILED", "Failed")), 200)
    assert failed.status.waiting_since is None
    pause = decide(observed(job(**LIMIT, status=after(failed))), 205)
    assert (pause.status.phase, pause.status.waiting_since) == ("Retrying", None)
    second = decide(observed(job(**LIMIT, status=after(pause))), 400)
    assert last_attempt(second).number == 2
    assert first.status.waiting_since is not None
    assert second.status.waiting_since == first.status.waiting_since + timedelta(seconds=400)


def test_an_attempt_that_runs_at_the_last_moment_goes_on() -> None:
    first = decide(waiting())
    late = decide(observed(job(**LIMIT, status=after(first)), ray_job(), record=record_text()), 1000)
    assert condition(late, ConditionType.RUNNING).status == "True"


def test_a_job_that_failed_before_it_had_an_attempt_stays_failed() -> None:
    late = again(observed(job(**LIMIT), missing=(Missing("no claim", watched=True),)), 300)
    later = decide(observed(job(**LIMIT, status=after(late))), 400)
    assert condition(later, ConditionType.FAILED).reason == "PendingDeadlineExceeded"
    assert (later.actions, later.status.attempts) == ((), None)


def test_an_attempt_that_was_interrupted_while_the_next_one_waits_is_no_success() -> None:
    known = status(ended(1, AttemptOutcome.INTERRUPTED), attempt(2, start_time=None))
    first = decide(observed(job(**LIMIT, status=known)))
    late = decide(observed(job(**LIMIT, status=after(first))), 300)
    assert condition(late, ConditionType.FAILED).reason == "PendingDeadlineExceeded"


def test_pods_of_an_earlier_attempt_that_never_go_are_waited_for_only_so_long() -> None:
    stuck, failed = [pod()], ray_job(1, "FAILED", "Failed")
    known = after(decide(observed(job(**LIMIT, status=status(attempt())), failed, pods=stuck)))
    for seconds in (5, 20, 319):
        decision = decide(observed(job(**LIMIT, status=known), failed, pods=stuck), seconds)
        assert (decision.status.phase, decision.status.waiting_since is None) == ("Retrying", seconds == 5)
        known = after(decision)
    late = decide(observed(job(**LIMIT, status=known), failed, pods=stuck), 320)
    verdict = condition(late, ConditionType.FAILED)
    assert verdict.reason == "PendingDeadlineExceeded"
    assert "waits for 1 pod of attempt 1 to stop" in verdict.message
