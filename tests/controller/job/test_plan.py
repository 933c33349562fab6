"""The life of a job, decision by decision."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.api.spec import RunPolicy
from controller.api.status import Attempt, AttemptOutcome, Condition, ConditionType, FineTuneJobStatus, Progress
from controller.job.conditions import Reason, get_condition
from controller.job.facts import Job, Missing, Observed
from controller.job.plan import plan
from controller.job.situation import CreateAttempt, DeleteRayJob, Plan
from tests.controller.job.builders import FOLDER, NOW, attempt, checkpoint, job, observed, pod, ray_job, record_text, status

SUSPENDED = {"suspend": True}


def decide(what: Observed, seconds: float = 0) -> Plan:
    return plan(what, NOW + timedelta(seconds=seconds))


def condition(of: Plan | FineTuneJobStatus, kind: ConditionType) -> Condition:
    found = get_condition(of.status if isinstance(of, Plan) else of, kind)
    assert found is not None
    return found


def last_attempt(decision: Plan) -> Attempt:
    assert decision.status.attempts
    return decision.status.attempts[-1]


def after(decision: Plan, **fields: Any) -> FineTuneJobStatus:
    """Return what the next pass reads: status is what the first one wrote."""
    return decision.status.model_copy(update=fields)


def ended(number: int, outcome: AttemptOutcome, reason: str = "TrainerFailed") -> Attempt:
    return attempt(number, outcome=outcome, reason=reason, end_time=NOW)


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


def test_a_missing_secret_is_told_from_the_pod_that_cannot_start() -> None:
    waits = pod(role="head", waiting_reason="CreateContainerConfigError", waiting_message='secret "hub" not found')
    decision = decide(observed(job(status=status(attempt())), ray_job(1, "", "Initializing"), pods=[waits]))
    accepted = condition(decision, ConditionType.ACCEPTED)
    assert (accepted.status, accepted.reason) == ("False", Reason.SECRET_MISSING)
    assert 'secret "hub" not found' in accepted.message
    there = decide(observed(job(status=after(decision)), ray_job(), pods=[pod(role="head")]))
    assert condition(there, ConditionType.ACCEPTED).status == "True"


def test_a_pod_that_finds_no_node_says_why_the_job_does_not_run() -> None:
    waits = pod(waiting_reason="Unschedulable", waiting_message="0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    decision = decide(observed(job(status=status(attempt())), ray_job(1, "", "Initializing"), pods=[waits]))
    assert "Insufficient nvidia.com/gpu" in condition(decision, ConditionType.RUNNING).message


@pytest.mark.parametrize(
    ("waiting", "told"),
    [
        ({"submitter": "ImagePullBackOff", "worker": "Unschedulable", "head": "Unschedulable"}, "head"),
        ({"submitter": "Unschedulable", "worker": "Unschedulable"}, "worker"),
        ({"submitter": "Unschedulable"}, "submitter"),
        ({"other": "Unschedulable", "submitter": "Unschedulable"}, "submitter"),
        ({"submitter": "CreateContainerConfigError", "head": "Unschedulable"}, "submitter"),
    ],
    ids=["head first", "worker before submitter", "submitter", "a role of another time", "what the user must mend"],
)
def test_of_several_pods_in_trouble_the_one_that_explains_most_is_told(waiting: dict[str, str], told: str) -> None:
    pods = [pod(role=role, waiting_reason=reason, waiting_message="words") for role, reason in waiting.items()]
    decision = decide(observed(job(status=status(attempt())), ray_job(1, "", "Initializing"), pods=pods))
    assert f"pod bot-1-{told} waits" in condition(decision, ConditionType.RUNNING).message


def test_a_pod_that_gets_neither_its_volumes_nor_its_image_is_told_after_two_minutes() -> None:
    pods = [pod(preparing_since=NOW), pod(role="head", preparing_since=NOW)]
    what = observed(job(status=status(attempt())), ray_job(1, "", "Initializing"), pods=pods)
    early = decide(what, 30)
    assert "KubeRay starts the Ray cluster" in condition(early, ConditionType.RUNNING).message
    assert early.requeue_after == 90
    late = decide(what, 120)
    message = condition(late, ConditionType.RUNNING).message
    assert "pod bot-1-head waits for its volumes or its image since 12:00:00 UTC" in message
    assert "`kubectl describe pod bot-1-head`" in message
    assert late.requeue_after is None


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


def test_success_is_told_by_both_words_of_the_ray_job() -> None:
    text = record_text(stage="Finished", outcome={"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 9.6"})
    decision = decide(observed(job(status=status(attempt())), ray_job(1, "SUCCEEDED", "Complete"), record=text))
    assert condition(decision, ConditionType.SUCCEEDED).status == "True"
    assert condition(decision, ConditionType.FAILED).status == "False"
    assert condition(decision, ConditionType.RUNNING).status == "False"
    assert last_attempt(decision).outcome is AttemptOutcome.SUCCEEDED
    assert last_attempt(decision).end_time == NOW
    assert decision.status.phase == "Succeeded"
    assert decision.status.dashboard is None


def test_a_failed_attempt_is_followed_by_another_once_its_pods_are_gone() -> None:
    failed = ray_job(1, "FAILED", "Failed", reason="AppFailed", message="Job entrypoint command failed with exit code 1")
    first = decide(observed(job(status=status(attempt())), failed, pods=[pod(role="head"), pod()]))
    assert last_attempt(first).outcome is AttemptOutcome.FAILED
    assert condition(first, ConditionType.RUNNING).reason == Reason.RETRYING
    assert first.status.phase == "Retrying"

    second = decide(observed(job(status=after(first)), failed, pods=[pod(role="head")]))
    assert last_attempt(second).number == 1
    assert "1 pods" in condition(second, ConditionType.RUNNING).message
    assert second.requeue_after

    early = decide(observed(job(status=after(second)), failed), 3)
    assert last_attempt(early).number == 1
    assert early.requeue_after == 7
    assert "12:00:10" in condition(early, ConditionType.RUNNING).message
    assert early.status.phase == "Retrying"

    third = decide(observed(job(status=after(second)), failed, pods=[pod(role="submitter")]), 10)
    assert last_attempt(third) == Attempt(number=2, ray_job_name="bot-2")
    fourth = decide(observed(job(status=after(third)), failed))
    assert fourth.actions == (CreateAttempt(2),)


@pytest.mark.parametrize(
    ("cursor", "fields", "reason"),
    [
        (None, {}, "Succeeded"),
        ("1/bot-1-x7k2p/2", {}, "Succeeded"),
        ("1/bot-1-x7k2p/2", {"cluster": "bot-1-older"}, "RayJobDeleted"),
        (None, {"attempt": 2}, "RayJobDeleted"),
        ("1/bot-1-x7k2p/2", {"outcome": {"result": "InputInvalid", "reason": "DataInvalid", "message": "no rows"}}, "DataInvalid"),
        ("1/bot-1-x7k2p/2", {"outcome": None}, "RayJobDeleted"),
    ],
    ids=["never reported", "reported before", "another cluster", "another attempt", "input at fault", "no last word"],
)
def test_of_a_ray_job_that_is_gone_the_trainers_last_word_decides(cursor: str | None, fields: dict[str, Any], reason: str) -> None:
    outcome = {"outcome": {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 9.6"}}
    known = status(attempt(), report_cursor=cursor)
    decision = decide(observed(job(status=known), record=record_text(**(outcome | fields))))
    assert last_attempt(decision).reason == reason


def test_an_attempt_that_succeeded_and_is_gone_was_not_suspended() -> None:
    outcome = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 9.6"}
    decision = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt())), record=record_text(outcome=outcome)))
    assert condition(decision, ConditionType.SUCCEEDED).status == "True"


def test_the_last_attempt_that_may_fail_fails_the_job() -> None:
    known = status(ended(1, AttemptOutcome.FAILED), attempt(2))
    failed = ray_job(2, "FAILED", "Failed", message="exit code 1, no luck")
    decision = decide(observed(job(runPolicy={"maxAttempts": 2}, status=known), failed))
    verdict = condition(decision, ConditionType.FAILED)
    assert (verdict.status, verdict.reason) == ("True", Reason.ATTEMPTS_EXHAUSTED)
    assert "2 of 2 attempts failed" in verdict.message
    assert "no luck" in verdict.message
    assert decision.status.phase == "Failed"


def test_lowering_max_attempts_below_what_has_failed_fails_a_job_that_waits_to_retry() -> None:
    known = status(ended(1, AttemptOutcome.FAILED), ended(2, AttemptOutcome.FAILED))
    decision = decide(observed(job(runPolicy={"maxAttempts": 1}, status=known)))
    assert condition(decision, ConditionType.FAILED).reason == Reason.ATTEMPTS_EXHAUSTED


def test_suspended_and_interrupted_attempts_are_not_charged() -> None:
    known = status(ended(1, AttemptOutcome.SUSPENDED), ended(2, AttemptOutcome.INTERRUPTED), ended(3, AttemptOutcome.FAILED), attempt(4))
    decision = decide(observed(job(runPolicy={"maxAttempts": 3}, status=known), ray_job(4, "FAILED", "Failed")))
    assert get_condition(decision.status, ConditionType.FAILED) is None
    assert condition(decision, ConditionType.RUNNING).reason == Reason.RETRYING


@pytest.mark.parametrize("final", [True, False], ids=["RayJob is final", "RayJob has not noticed"])
def test_the_inputs_fault_fails_the_job_at_once_and_without_retries(final: bool) -> None:
    outcome = {"result": "InputInvalid", "reason": "DataInvalid", "message": "data.train[0]: line 3 is no JSON"}
    words = ("FAILED", "Failed") if final else ("RUNNING", "Running")
    decision = decide(observed(job(status=status(attempt())), ray_job(1, *words), record=record_text(outcome=outcome)))
    verdict = condition(decision, ConditionType.FAILED)
    assert (verdict.status, verdict.reason) == ("True", "DataInvalid")
    assert verdict.message == "data.train[0]: line 3 is no JSON"
    assert decision.status.attempts is not None
    assert len(decision.status.attempts) == 1


def test_without_a_last_word_the_exit_code_tells_of_the_inputs_fault() -> None:
    failed = ray_job(1, "FAILED", "Failed", message="Job entrypoint command failed with exit code 2, last available logs: bad column")
    decision = decide(observed(job(status=status(attempt())), failed))
    verdict = condition(decision, ConditionType.FAILED)
    assert (verdict.status, verdict.reason) == ("True", "InputInvalid")
    assert "bad column" in verdict.message


def test_a_ray_job_that_somebody_deleted_counts_as_a_failed_attempt() -> None:
    decision = decide(observed(job(status=status(attempt()))))
    assert last_attempt(decision).outcome is AttemptOutcome.FAILED
    assert last_attempt(decision).reason == "RayJobDeleted"
    assert condition(decision, ConditionType.RUNNING).reason == Reason.RETRYING


@pytest.mark.parametrize("kind", [ConditionType.SUCCEEDED, ConditionType.FAILED])
@pytest.mark.parametrize("suspend", [True, False])
def test_a_job_that_has_ended_stays_as_it_is(kind: ConditionType, suspend: bool) -> None:
    over = Condition(type=kind, status="True", last_transition_time=NOW, reason="Over", message="", observed_generation=1)
    known = status(ended(1, AttemptOutcome.FAILED), conditions=[over])
    once = decide(observed(job(status=known, runPolicy={"suspend": suspend}), ray_job(1, "FAILED", "Failed")))
    again = decide(observed(job(status=after(once), runPolicy={"suspend": suspend})))
    assert once.actions == again.actions == ()
    assert again.status == once.status


def test_a_driver_that_lingers_after_its_last_word_is_cleared_away() -> None:
    over = Condition(type=ConditionType.FAILED, status="True", last_transition_time=NOW, reason="Over", message="")
    young = status(ended(1, AttemptOutcome.FAILED), conditions=[over])
    old = status(attempt(1, outcome=AttemptOutcome.FAILED, end_time=NOW - timedelta(seconds=61)), conditions=[over])
    assert decide(observed(job(status=young), ray_job())).requeue_after == 60
    assert decide(observed(job(status=old), ray_job())).actions == (DeleteRayJob("bot-1"),)


def test_a_job_that_is_being_deleted_is_left_alone() -> None:
    decision = decide(observed(job(deleting=True, status=status(attempt())), ray_job()))
    assert decision.actions == ()
    assert decision.status == status(attempt())


def test_a_job_created_suspended_has_no_attempt() -> None:
    decision = decide(observed(job(runPolicy=SUSPENDED)))
    assert decision.actions == ()
    assert decision.status.attempts is None
    assert condition(decision, ConditionType.SUSPENDED).status == "True"
    assert decision.status.phase == "Suspended"


@pytest.mark.parametrize(
    ("started", "there"),
    [(True, True), (False, True), (False, False)],
    ids=["running", "created and seen for the first time", "created perhaps, not yet seen"],
)
def test_suspending_ends_the_attempt_uncharged_and_only_then_deletes_its_ray_job(started: bool, there: bool) -> None:
    ray_jobs, pods = ([ray_job()], [pod(role="head"), pod()]) if there else ([], [])
    known = status(attempt() if started else attempt(start_time=None))
    first = decide(observed(job(runPolicy=SUSPENDED, status=known), *ray_jobs, pods=pods))
    assert first.actions == ()
    assert first.requeue_after == 1
    assert last_attempt(first).outcome is AttemptOutcome.SUSPENDED
    assert condition(first, ConditionType.SUSPENDED).status == "True"
    second = decide(observed(job(runPolicy=SUSPENDED, status=after(first)), *ray_jobs, pods=pods))
    assert second.actions == (DeleteRayJob("bot-1"),)
    assert second.status == first.status


def test_a_suspended_job_tells_how_many_pods_are_left() -> None:
    decision = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt())), ray_job(), pods=[pod(role="head"), pod()]))
    assert "2 pods" in condition(decision, ConditionType.SUSPENDED).message


def test_a_wish_that_was_withdrawn_before_it_was_written_down_changes_nothing() -> None:
    running = status(attempt())
    decide(observed(job(runPolicy=SUSPENDED, status=running), ray_job()))  # whose status write failed
    decision = decide(observed(job(status=running), ray_job()))
    assert decision.actions == ()
    assert last_attempt(decision).outcome is None


def test_resuming_before_the_ray_job_was_deleted_deletes_it_and_waits() -> None:
    first = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt())), ray_job()))
    resumed = decide(observed(job(status=after(first)), ray_job()))
    assert resumed.actions == (DeleteRayJob("bot-1"),)
    assert len(resumed.status.attempts or []) == 1
    assert condition(resumed, ConditionType.RUNNING).reason == Reason.WAITING_FOR_PODS


def test_resuming_deletes_a_ray_job_that_was_perhaps_created_and_never_seen() -> None:
    first = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt(start_time=None)))))
    resumed = decide(observed(job(status=after(first))))
    assert resumed.actions == (DeleteRayJob("bot-1"),)
    assert last_attempt(resumed).number == 2


def test_a_ray_job_that_survived_its_suspension_is_deleted_again() -> None:
    known = status(ended(1, AttemptOutcome.SUSPENDED))
    assert decide(observed(job(runPolicy=SUSPENDED, status=known), ray_job())).actions == (DeleteRayJob("bot-1"),)
    assert decide(observed(job(runPolicy=SUSPENDED, status=known), ray_job(deleting=True))).actions == ()


def test_resuming_starts_the_next_attempt_once_nothing_of_the_old_one_is_left() -> None:
    known = decide(observed(job(runPolicy=SUSPENDED, status=status(ended(1, AttemptOutcome.SUSPENDED))))).status
    for left in (observed(job(status=known), pods=[pod()]), observed(job(status=known), ray_job(deleting=True))):
        waits = decide(left)
        assert len(waits.status.attempts or []) == 1
        assert condition(waits, ConditionType.RUNNING).reason == Reason.WAITING_FOR_PODS
    resumed = decide(observed(job(status=known)))
    assert last_attempt(resumed).number == 2
    assert condition(resumed, ConditionType.SUSPENDED).status == "False"


RESTS = decide(observed(job(runPolicy=SUSPENDED, status=status(ended(1, AttemptOutcome.SUSPENDED))))).status


@pytest.mark.parametrize(
    ("waits", "phase"),
    [
        (observed(job(status=RESTS), missing=(Missing("output: there is no claim"),)), "Waiting"),
        (observed(job(status=RESTS), kuberay_installed=False), "Waiting"),
        (observed(job(status=RESTS, model={"path": "here"})), "Invalid"),
        (observed(job(status=RESTS), pods=[pod()]), "Starting"),
    ],
    ids=["a reference is missing", "KubeRay is missing", "invalid", "pods are left"],
)
def test_a_resumed_job_that_has_to_wait_is_not_told_to_be_resumed(waits: Observed, phase: str) -> None:
    decision = decide(waits)
    assert condition(decision, ConditionType.SUSPENDED).status == "False"
    assert decision.status.phase == phase


def test_an_attempt_that_ended_before_the_wish_to_suspend_reached_it_has_ended() -> None:
    decision = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt())), ray_job(1, "SUCCEEDED", "Complete")))
    assert condition(decision, ConditionType.SUCCEEDED).status == "True"


def test_a_suspended_job_whose_attempt_failed_rests_and_does_not_retry() -> None:
    failed = ray_job(1, "FAILED", "Failed")
    first = decide(observed(job(runPolicy=SUSPENDED, status=status(attempt())), failed))
    second = decide(observed(job(runPolicy=SUSPENDED, status=after(first)), failed))
    assert second.status.phase == "Suspended"
    assert len(second.status.attempts or []) == 1


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
