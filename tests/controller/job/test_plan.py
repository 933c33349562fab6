"""The life of a job, decision by decision."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.job.facts import Job, Missing, Observed
from controller.job.situation import CreateAttempt, DeleteRayJob
from finetune.api.conditions import Reason
from finetune.api.spec import RunPolicy
from finetune.api.status import Attempt, AttemptOutcome, ConditionType, Progress
from tests.controller.job.builders import FOLDER, NOW, attempt, checkpoint, job, observed, pod, ray_job, record_text, status
from tests.controller.job.decisions import SUSPENDED, after, condition, decide, ended, last_attempt


def test_a_new_attempt_is_written_down_before_anything_of_it_exists() -> None:
    decision = decide(observed(job()))
    assert last_attempt(decision) == Attempt(number=1, ray_job_name="bot-1")
    assert decision.actions == ()
    assert condition(decision, ConditionType.ACCEPTED).status == "True"
    assert decision.status.output is not None
    assert decision.status.output.uri == f"pvc://models/{FOLDER}"
    assert decision.status.phase == "Starting"


def test_an_attempt_that_is_written_down_is_created_in_the_next_pass() -> None:
    first = decide(observed(job()))
    second = decide(observed(job(status=after(first))))
    assert second.actions == (CreateAttempt(1),)
    assert second.status.attempts == first.status.attempts


def test_what_is_missing_is_named_and_waited_for() -> None:
    decision = decide(observed(job(), missing=(Missing("data.train[0].configMap: there is no ConfigMap rows"),)))
    accepted = condition(decision, ConditionType.ACCEPTED)
    assert (accepted.status, accepted.reason) == ("False", Reason.REFERENCE_MISSING)
    assert "ConfigMap rows" in accepted.message
    assert decision.actions == ()
    assert decision.status.attempts is None
    assert decision.requeue_after
    assert decision.status.phase == "Waiting"


@pytest.mark.parametrize(
    ("missing", "minutes", "pause"),
    [
        ([Missing("a ConfigMap")], 0, 5),
        ([Missing("a ConfigMap")], 5, 30),
        ([Missing("a ConfigMap")], 600, 60),
        ([Missing("a claim", watched=True)], 0, None),
        ([Missing("a claim", watched=True), Missing("a ConfigMap")], 0, 5),
    ],
    ids=["at first", "later", "long", "a claim is watched", "both"],
)
def test_what_no_watch_tells_is_looked_for_ever_less_often(missing: list[Missing], minutes: int, pause: float | None) -> None:
    first = decide(observed(job(), missing=tuple(missing)))
    again = decide(observed(job(status=first.status), missing=tuple(missing)), 60 * minutes)
    assert again.requeue_after == pause


def test_what_vanished_between_the_two_passes_of_a_start_is_waited_for_too() -> None:
    decision = decide(observed(job(status=status(attempt(start_time=None))), missing=(Missing("output: there is no claim"),)))
    assert decision.actions == ()
    assert condition(decision, ConditionType.ACCEPTED).status == "False"


def test_without_kuberay_a_job_says_so_and_waits() -> None:
    decision = decide(observed(job(), kuberay_installed=False))
    accepted = condition(decision, ConditionType.ACCEPTED)
    assert (accepted.status, accepted.reason) == ("False", Reason.KUBERAY_MISSING)
    assert "install KubeRay" in accepted.message
    assert decision.actions == ()


def test_when_kuberay_vanishes_under_a_running_job_no_attempt_is_charged() -> None:
    decision = decide(observed(job(status=status(attempt())), kuberay_installed=False))
    assert last_attempt(decision).outcome is None
    assert condition(decision, ConditionType.ACCEPTED).reason == Reason.KUBERAY_MISSING


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"data": {"train": [{"path": "rows.jsonl"}]}}, "data.train[0].path"),
        ({"model": {"path": "model"}}, "model.path"),
        (
            {"augmentation": {"operations": [{"wordSwap": {}}, {"synonymReplacement": {"dictionary": {"path": "words.tsv"}}}]}},
            "augmentation.operations[1].synonymReplacement.dictionary.path",
        ),
    ],
    ids=["data", "model", "dictionary"],
)
def test_a_local_path_is_refused_on_a_cluster_with_its_field_and_the_way_out(sections: dict[str, Any], field: str) -> None:
    decision = decide(observed(job(**sections)))
    accepted = condition(decision, ConditionType.ACCEPTED)
    assert (accepted.status, accepted.reason) == ("False", Reason.SPEC_INVALID)
    assert accepted.message.startswith(f"{field}: ")
    assert "PersistentVolumeClaim" in accepted.message
    assert decision.status.attempts is None
    assert decision.status.phase == "Invalid"


@pytest.mark.parametrize(
    ("job_status", "deployment_status", "runs"),
    [
        ("RUNNING", "Running", "True"),
        ("PENDING", "Running", "False"),
        ("", "Initializing", "False"),
        ("", "", "False"),
        ("", "Baking", "False"),
    ],
    ids=["running", "submitted", "cluster starts", "fresh", "unknown word"],
)
def test_running_follows_kuberay(job_status: str, deployment_status: str, runs: str) -> None:
    decision = decide(observed(job(status=status(attempt())), ray_job(1, job_status, deployment_status)))
    assert condition(decision, ConditionType.RUNNING).status == runs
    assert decision.actions == ()
    assert last_attempt(decision).outcome is None


def test_an_unknown_state_is_quoted_and_waited_upon() -> None:
    decision = decide(observed(job(status=status(attempt())), ray_job(1, "DREAMING", "Baking")))
    assert "'Baking'" in condition(decision, ConditionType.RUNNING).message


UNREADABLE = {"spec": None, "spec_problem": "spec.task: of another version"}


def unreadable(of: Job, **fields: Any) -> Job:
    """Return the job as a version of the program sees it that does not understand its spec."""
    return replace(of, **(UNREADABLE | fields))


def test_a_spec_that_cannot_be_read_is_refused_and_what_is_left_of_an_attempt_deleted() -> None:
    known = status(ended(1, AttemptOutcome.SUSPENDED))
    decision = decide(observed(unreadable(job(status=known)), ray_job()))
    assert condition(decision, ConditionType.ACCEPTED).reason == Reason.SPEC_INVALID
    assert decision.actions == (DeleteRayJob("bot-1"),)


def test_an_attempt_whose_spec_cannot_be_read_any_more_runs_on() -> None:
    accepted = decide(observed(job(status=status(attempt())), ray_job()))
    decision = decide(observed(unreadable(job(status=accepted.status)), ray_job(), record=record_text()))
    assert decision.actions == ()
    assert (decision.status.phase, last_attempt(decision).last_step) == ("Running", 20)
    assert condition(decision, ConditionType.ACCEPTED).status == "True"


@pytest.mark.parametrize("there", [True, False], ids=["RayJob is there", "RayJob is gone"])
def test_the_end_of_an_attempt_is_recorded_though_its_spec_cannot_be_read_any_more(there: bool) -> None:
    outcome = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 9.6"}
    ray_jobs = [ray_job(1, "SUCCEEDED", "Complete")] if there else []
    decision = decide(observed(unreadable(job(status=status(attempt()))), *ray_jobs, record=record_text(outcome=outcome)))
    assert condition(decision, ConditionType.SUCCEEDED).status == "True"


def test_a_job_whose_spec_cannot_be_read_can_be_suspended() -> None:
    wish = unreadable(job(status=status(attempt())), run_policy=RunPolicy(suspend=True))
    first = decide(observed(wish, ray_job()))
    assert first.status.phase == "Suspended"
    second = decide(observed(replace(wish, status=first.status), ray_job()))
    assert second.status.phase == "Suspended"
    assert second.actions == (DeleteRayJob("bot-1"),)


def test_start_time_and_dashboard_come_from_the_ray_job() -> None:
    decision = decide(observed(job(status=status(attempt(start_time=None))), ray_job()))
    assert last_attempt(decision).start_time == NOW - timedelta(minutes=1)
    dashboard = decision.status.dashboard
    assert dashboard is not None
    assert (dashboard.service, dashboard.port, dashboard.token_secret) == ("bot-1-x7k2p-head-svc", 8265, "bot-1-x7k2p")


def test_a_report_reaches_the_status_and_the_columns() -> None:
    text = record_text(metrics={"baseline": {"perplexity": 18.4}, "latest": {"perplexity": 9.81}}, checkpoints=[checkpoint(20)])
    decision = decide(observed(job(status=status(attempt())), ray_job(), record=text))
    summary = decision.status.summary
    assert summary is not None
    assert (summary.step, summary.progress, summary.eta, summary.perplexity, summary.attempt) == ("20/80", "25%", "1m", "9.81", 1)
    assert condition(decision, ConditionType.CHECKPOINT_AVAILABLE).status == "True"
    assert last_attempt(decision).last_step == 20


@pytest.mark.parametrize(
    "fields",
    [{"attempt": 2}, {"cluster": "bot-1-older"}, {"sequence": 2}],
    ids=["another attempt", "another cluster of the attempt", "an older one"],
)
def test_a_report_of_a_predecessor_changes_nothing(fields: dict[str, Any]) -> None:
    known = status(attempt(), report_cursor="1/bot-1-x7k2p/3")
    with_report = decide(observed(job(status=known), ray_job(), record=record_text(**fields)))
    without = decide(observed(job(status=known), ray_job()))
    assert with_report.status == without.status


def test_a_report_that_cannot_be_read_is_noted_and_changes_nothing() -> None:
    decision = decide(observed(job(status=status(attempt())), ray_job(), record="{"))
    assert decision.status.progress is None
    assert "not readable" in decision.notes[0]


def test_reports_wait_for_their_turn_and_are_looked_at_when_it_comes() -> None:
    known = status(attempt(), report_cursor="1/bot-1-x7k2p/2", progress=Progress(step=10, last_report_time=NOW - timedelta(seconds=5)))
    decision = decide(observed(job(status=known), ray_job(), record=record_text()))
    assert decision.status.progress == known.progress
    assert decision.requeue_after == 10


@pytest.mark.parametrize(
    "news",
    [{"checkpoints": [checkpoint(20)]}, {"outcome": {"result": "Failed", "reason": "OutOfMemory", "message": "no memory"}}],
    ids=["checkpoint", "end"],
)
def test_checkpoints_and_the_end_do_not_wait(news: dict[str, Any]) -> None:
    known = status(attempt(), report_cursor="1/bot-1-x7k2p/2", progress=Progress(step=10, last_report_time=NOW - timedelta(seconds=5)))
    decision = decide(observed(job(status=known), ray_job(), record=record_text(**news)))
    assert decision.status.progress is not None
    assert decision.status.progress.step == 20


def test_a_job_that_is_being_deleted_is_left_alone() -> None:
    decision = decide(observed(job(deleting=True, status=status(attempt())), ray_job()))
    assert decision.actions == ()
    assert decision.status == status(attempt())


@pytest.mark.parametrize(
    "what",
    [
        observed(job()),
        observed(job(status=status(attempt())), ray_job()),
        observed(job(status=status(attempt())), ray_job(), pods=[pod(waiting_reason="CreateContainerConfigError")]),
        observed(job(status=status(attempt())), ray_job(), record=record_text(checkpoints=[checkpoint(20)])),
        observed(job(status=status(ended(1, AttemptOutcome.FAILED))), pods=[pod()]),
        observed(job(status=status(ended(1, AttemptOutcome.FAILED)))),
        observed(job(runPolicy=SUSPENDED)),
        observed(job(model={"path": "here"})),
    ],
    ids=["start", "running", "a Secret is missing", "report", "waiting for pods", "pausing", "suspended", "invalid"],
)
def test_deciding_twice_over_the_same_facts_changes_nothing_more(what: Observed) -> None:
    once = decide(what)
    if once.status.attempts and once.status.attempts[-1].start_time is None:
        return  # a start takes two passes by design
    again = decide(replace(what, job=replace(what.job, status=once.status)), 5)
    assert again.status == once.status
