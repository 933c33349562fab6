"""An attempt in a queue: what is said of it, and that an eviction neither ends nor charges it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.job.facts import Kueue, WorkloadFacts
from controller.job.queueing import PATIENCE
from controller.job.report import transitions
from finetune.api.conditions import get_condition
from finetune.api.status import ConditionType, Dashboard, FailedPod, FineTuneJobStatus, Progress
from tests.controller.job.builders import NOW, attempt, checkpoint, job, observed, pod, ray_job, record_text, status
from tests.controller.job.decisions import SUSPENDED, after, condition, decide, deletion, last_attempt

PENDING = WorkloadFacts("w", "team-a", reason="Pending", message="8 cpu are missing")
STOPPED = WorkloadFacts("w", "team-a", evicted=True, reason="ClusterQueueStopped", message="The ClusterQueue is stopped")
ADMITTED = WorkloadFacts("w", "team-a", "gpus", admitted=True)
MISSING = WorkloadFacts("w", "nope", in_vain=True, reason="Inadmissible", message="LocalQueue nope doesn't exist")
QUEUED, RUNNING = ConditionType.QUEUED, ConditionType.RUNNING
HELD: dict[str, Any] = {"queue": "team-a", "suspended": True, "cluster": ""}
ADMITTED_RAY_JOB: dict[str, Any] = {"queue": "team-a", "suspended": False}
RECORD = record_text(checkpoints=[checkpoint(20)])


def ran() -> FineTuneJobStatus:
    """Return the status of an attempt that ran for a minute and has reported."""
    seen = observed(job(status=status(attempt())), ray_job(1, **ADMITTED_RAY_JOB), workload=ADMITTED, kueue=Kueue.WATCHED, record=RECORD)
    return after(decide(seen, seconds=-60))


def test_while_kueue_holds_it_the_job_is_queued_for_kueues_reason() -> None:
    decision = decide(observed(job(status=status(attempt())), ray_job(1, "", "Suspended", **HELD), workload=PENDING, kueue=Kueue.WATCHED))
    assert [(c.status, c.reason) for c in (condition(decision, QUEUED), condition(decision, RUNNING))] == [
        ("True", "Pending"),
        ("False", "Queued"),
    ]
    assert condition(decision, QUEUED).message == condition(decision, RUNNING).message
    assert "8 cpu are missing" in condition(decision, QUEUED).message
    summary = decision.status.summary
    assert summary is not None
    assert (decision.status.phase, summary.reason) == ("Queued", "Pending")
    assert decision.actions == ()


def test_the_time_in_the_queue_is_that_of_its_beginning_whatever_changes() -> None:
    what = ray_job(1, "", "Suspended", **HELD)
    first = decide(observed(job(status=status(attempt())), what, workload=PENDING, kueue=Kueue.WATCHED))
    later = WorkloadFacts("w", "team-a", reason="Inadmissible", message="the ClusterQueue gpus is inactive")
    second = decide(observed(job(status=after(first)), what, workload=later, kueue=Kueue.WATCHED), seconds=600)
    said = condition(second, QUEUED)
    assert (said.reason, said.last_transition_time) == ("Inadmissible", NOW)
    assert "since 2026-03-01 12:00:00 UTC: the ClusterQueue gpus is inactive" in said.message


def test_a_job_without_a_queue_has_no_such_condition() -> None:
    decision = decide(observed(job(status=status(attempt())), ray_job(), kueue=Kueue.WATCHED))
    assert get_condition(decision.status, QUEUED) is None


def test_an_admitted_attempt_starts() -> None:
    before = after(decide(observed(job(status=status(attempt())), ray_job(1, "", "Suspended", **HELD), workload=PENDING)))
    decision = decide(observed(job(status=before), ray_job(1, "", "Suspended", **ADMITTED_RAY_JOB, cluster=""), workload=ADMITTED), 30)
    assert (condition(decision, QUEUED).status, condition(decision, QUEUED).reason) == ("False", "Admitted")
    assert condition(decision, QUEUED).message == "attempt 1 was admitted by the ClusterQueue gpus"
    assert (decision.status.phase, condition(decision, RUNNING).reason) == ("Starting", "Starting")


@pytest.mark.parametrize(
    ("words", "cluster"), [(("RUNNING", "Running"), "bot-1-x7k2p"), (("RUNNING", "Suspending"), "bot-1-x7k2p"), (("", "Suspended"), "")],
    ids=["before KubeRay has seen it", "while its cluster goes", "when it is gone"],
)  # fmt: skip
def test_an_eviction_neither_ends_nor_charges_the_attempt(words: tuple[str, str], cluster: str) -> None:
    evicted = ray_job(1, *words, **HELD | {"cluster": cluster})
    interrupted = record_text(sequence=4, outcome={"result": "Interrupted", "reason": "Interrupted", "message": "asked to stop"})
    decision = decide(observed(job(status=ran()), evicted, workload=STOPPED, kueue=Kueue.WATCHED, record=interrupted))
    assert (last_attempt(decision).number, last_attempt(decision).outcome) == (1, None)
    assert decision.actions == ()
    assert (condition(decision, QUEUED).status, condition(decision, QUEUED).reason) == ("True", "ClusterQueueStopped")
    assert (decision.status.phase, condition(decision, RUNNING).status) == ("Queued", "False")


def test_what_was_true_in_the_cluster_that_is_gone_is_forgotten_and_what_was_reached_stays() -> None:
    before = ran().changed(dashboard=Dashboard(service="bot-1-x7k2p-head-svc", port=8265, token_secret="s"))
    noted = {"node": "gpu-3", "failed_pod": FailedPod(name="bot-1-worker", reason="Error")}
    before = before.changed(attempts=[before.attempts[0].changed(**noted)])  # type: ignore[index]
    going = pod(role="head", node="gpu-3", failed=True, reasons=("Error",))
    decision = decide(observed(job(status=before), ray_job(1, "", "Suspended", **HELD), workload=STOPPED, pods=[going]))
    assert decision.status.dashboard is None
    assert (last_attempt(decision).node, last_attempt(decision).failed_pod) == (None, None)
    assert isinstance(decision.status.progress, Progress)
    assert (decision.status.progress.step, decision.status.progress.eta_seconds) == (20, None)
    assert [each.step for each in decision.status.checkpoints or []] == [20]


def test_a_late_report_of_the_evicted_cluster_is_refused() -> None:
    what = ray_job(1, "", "Suspended", **HELD)
    late = record_text(sequence=9, outcome={"result": "Succeeded", "reason": "Succeeded", "message": "forged"})
    held = decide(observed(job(status=ran()), what, workload=STOPPED, record=late))
    again = ray_job(1, "RUNNING", "Running", **ADMITTED_RAY_JOB, cluster="bot-1-new")
    runs = decide(observed(job(status=after(held)), again, workload=ADMITTED, record=late), 60)
    for decision in (held, runs):
        assert decision.status.report_cursor == "1/bot-1-x7k2p/3"
        assert [each.reason for each in decision.refused] == ["OtherCluster"]
        assert "is of Ray cluster 'bot-1-x7k2p'" in decision.refused[0].words
        assert last_attempt(decision).outcome is None


def test_the_last_report_that_was_taken_is_not_refused_over_and_over() -> None:
    held = decide(observed(job(status=ran()), ray_job(1, "", "Suspended", **HELD), workload=STOPPED, record=RECORD))
    assert held.refused == ()


def test_admitted_again_the_same_attempt_reports_from_another_cluster() -> None:
    held = decide(observed(job(status=ran()), ray_job(1, "", "Suspended", **HELD), workload=STOPPED, record=RECORD))
    again = ray_job(1, "RUNNING", "Running", **ADMITTED_RAY_JOB, cluster="bot-1-new")
    record = record_text(cluster="bot-1-new", sequence=1, resumedFromStep=20, checkpoints=[checkpoint(20)])
    decision = decide(observed(job(status=after(held)), again, workload=ADMITTED, record=record), 60)
    assert decision.status.report_cursor == "1/bot-1-new/1"
    assert (last_attempt(decision).number, last_attempt(decision).resumed_from_step) == (1, 20)
    assert (decision.status.phase, condition(decision, QUEUED).reason) == ("Running", "Admitted")
    dashboard = decision.status.dashboard
    assert dashboard is not None
    assert dashboard.service == "bot-1-new-head-svc"


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        ({"workload": PENDING, "kueue": Kueue.WATCHED}, False),
        ({"workload": STOPPED, "kueue": Kueue.WATCHED}, False),
        ({"workload": MISSING, "kueue": Kueue.WATCHED}, True),
        ({"kueue": Kueue.FORBIDDEN}, False),
        ({"kueue": Kueue.UNKNOWN}, False),
        ({"kueue": Kueue.WATCHED}, True),
        ({"kueue": Kueue.ABSENT}, True),
    ],
    ids=["waits", "evicted", "no such queue", "no right", "not known", "no Workload", "no Kueue"],
)
def test_the_pending_deadline_counts_only_where_nobody_will_admit_the_job(fields: dict[str, Any], ends: bool) -> None:
    policy = {"pendingDeadlineSeconds": 300}
    what = ray_job(1, "", "Suspended", **HELD)
    first = decide(observed(job(status=status(attempt()), runPolicy=policy), what, **fields))
    second = decide(observed(job(status=after(first), runPolicy=policy), what, **fields), seconds=301)
    assert (second.status.phase == "Failed") is ends


@pytest.mark.parametrize("reason", ["Inadmissible", "Deactivated"])
def test_a_job_that_nobody_is_going_to_admit_waits_and_says_so_once(reason: str) -> None:
    what, workload = ray_job(1, "", "Suspended", **HELD), replace(MISSING, reason=reason)
    first = decide(observed(job(status=status(attempt())), what, workload=workload, kueue=Kueue.WATCHED))
    assert (first.status.phase, first.status.waiting_since) == ("Waiting", NOW)
    assert [(condition(first, each).status, condition(first, each).reason) for each in (QUEUED, RUNNING)] == [("False", reason)] * 2
    assert [each.type for each in transitions(status(attempt()), first.status)] == ["Queued"]
    second = decide(observed(job(status=after(first)), what, workload=workload, kueue=Kueue.WATCHED), seconds=60)
    assert second.status == first.status


def test_a_job_that_comes_into_a_queue_after_all_has_not_waited_in_vain() -> None:
    policy = {"pendingDeadlineSeconds": 300}
    what = ray_job(1, "", "Suspended", **HELD)
    first = decide(observed(job(status=status(attempt()), runPolicy=policy), what, kueue=Kueue.ABSENT))
    assert first.status.waiting_since is not None
    second = decide(observed(job(status=after(first), runPolicy=policy), what, workload=PENDING, kueue=Kueue.WATCHED), seconds=301)
    assert (second.status.phase, second.status.waiting_since) == ("Queued", None)


def test_time_in_a_queue_is_not_time_that_it_runs() -> None:
    held = decide(observed(job(status=ran()), ray_job(1, "", "Suspended", **HELD), workload=STOPPED))
    assert held.status.active_seconds == 60
    later = decide(observed(job(status=after(held)), ray_job(1, "", "Suspended", **HELD), workload=STOPPED), seconds=3600)
    assert later.status.active_seconds == 60


def test_a_workload_that_does_not_come_is_looked_for_once_more() -> None:
    new = ray_job(1, "", "", **HELD | {"created": NOW})
    decision = decide(observed(job(status=status(attempt())), new, kueue=Kueue.WATCHED))
    assert decision.requeue_after == PATIENCE.total_seconds()
    late = decide(observed(job(status=after(decision)), new, kueue=Kueue.WATCHED), seconds=PATIENCE.total_seconds())
    assert (condition(late, QUEUED).status, condition(late, QUEUED).reason) == ("False", "WorkloadMissing")
    assert (late.status.phase, condition(late, RUNNING).reason) == ("Waiting", "WorkloadMissing")


def test_suspended_by_its_user_a_queued_job_leaves_the_queue() -> None:
    what = ray_job(1, "", "Suspended", **HELD)
    before = after(decide(observed(job(status=status(attempt())), what, workload=PENDING)))
    first = decide(observed(job(status=before, runPolicy=SUSPENDED), what, workload=PENDING))
    assert (last_attempt(first).outcome, first.status.phase) == ("Suspended", "Suspended")
    assert (condition(first, QUEUED).status, condition(first, QUEUED).reason) == ("False", "Finished")
    second = decide(observed(job(status=after(first), runPolicy=SUSPENDED), what, workload=PENDING), seconds=1)
    assert second.actions == (deletion(1),)


def test_of_an_evicted_attempt_no_checkpoint_is_waited_for() -> None:
    held = decide(observed(job(status=ran()), ray_job(1, "", "Suspended", **HELD), workload=STOPPED))
    suspended = decide(observed(job(status=after(held), runPolicy=SUSPENDED), ray_job(1, "", "Suspended", **HELD), workload=STOPPED))
    assert (last_attempt(suspended).outcome, suspended.status.phase) == ("Suspended", "Suspended")
    assert suspended.actions == ()


def test_a_ray_job_that_somebody_else_suspends_is_said_to_be() -> None:
    decision = decide(observed(job(status=status(attempt())), ray_job(1, "", "Suspended", suspended=True), kueue=Kueue.WATCHED))
    assert get_condition(decision.status, QUEUED) is None
    assert "was suspended by somebody else" in condition(decision, RUNNING).message
    assert decision.requeue_after is None or decision.requeue_after > timedelta(seconds=1).total_seconds()
