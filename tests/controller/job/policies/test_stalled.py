"""An attempt that has stopped reporting is named, then replaced; one that is not expected to report is left alone."""

from datetime import timedelta
from typing import Any

import pytest

from controller.job.facts import RayJobFacts
from controller.job.policies.stalled import GRACE
from finetune.api.conditions import get_condition
from finetune.api.status import AttemptOutcome, ConditionType, FineTuneJobStatus, Progress
from tests.controller.job.builders import NOW, attempt, job, observed, ray_job, record_text, status
from tests.controller.job.decisions import SUSPENDED, after, condition, decide, deletion, last_attempt

TIMEOUT, GRACE_SECONDS = 300, int(GRACE.total_seconds())
LIMIT: dict[str, Any] = {"runPolicy": {"stallTimeoutSeconds": TIMEOUT}}


def reported(**fields: Any) -> FineTuneJobStatus:
    """A job whose attempt reported step 20 just now."""
    progress = Progress(stage="Training", step=20, last_report_time=NOW)
    return status(attempt(last_step=20), progress=progress, **({"report_cursor": "1/bot-1-x7k2p/3"} | fields))


def test_a_report_in_time_changes_nothing_and_the_next_one_is_waited_for() -> None:
    decision = decide(observed(job(**LIMIT, status=reported()), ray_job()), 10)
    assert get_condition(decision.status, ConditionType.STALLED) is None
    assert (decision.requeue_after, decision.due_within) == (TIMEOUT - 10, TIMEOUT - 10)


def test_a_stall_is_named_and_then_ends_the_attempt_which_is_charged() -> None:
    named = decide(observed(job(**LIMIT, status=reported()), ray_job()), TIMEOUT)
    said = condition(named, ConditionType.STALLED)
    assert (said.status, said.reason) == ("True", "Stalled")
    assert "the trainer has reported nothing since 2026-03-01 12:00:00 UTC, after step 20" in said.message
    assert last_attempt(named).outcome is None
    assert named.due_within == GRACE_SECONDS

    over = decide(observed(job(**LIMIT, status=after(named)), ray_job()), TIMEOUT + GRACE_SECONDS)
    assert (last_attempt(over).outcome, last_attempt(over).reason) == (AttemptOutcome.FAILED, "Stalled")
    assert last_attempt(over).charged is None
    assert over.actions == ()
    assert condition(over, ConditionType.STALLED).status == "False"
    assert over.status.phase == "Retrying"
    gone = decide(observed(job(**LIMIT, status=after(over)), ray_job()), TIMEOUT + GRACE_SECONDS + 1)
    assert gone.actions == (deletion(1),)


def test_the_last_attempt_that_may_fail_fails_the_job() -> None:
    policy = {"stallTimeoutSeconds": TIMEOUT, "maxAttempts": 1}
    named = decide(observed(job(runPolicy=policy, status=reported()), ray_job()), TIMEOUT)
    over = decide(observed(job(runPolicy=policy, status=after(named)), ray_job()), TIMEOUT + GRACE_SECONDS)
    assert condition(over, ConditionType.FAILED).reason == "AttemptsExhausted"


def test_a_report_takes_it_back() -> None:
    named = decide(observed(job(**LIMIT, status=reported()), ray_job()), TIMEOUT)
    again = decide(observed(job(**LIMIT, status=after(named)), ray_job(), record=record_text(sequence=4)), TIMEOUT + GRACE_SECONDS)
    assert (condition(again, ConditionType.STALLED).status, last_attempt(again).outcome) == ("False", None)
    # An outage of the API server is over: what is named for the first time gets all of the grace again.
    later = decide(observed(job(**LIMIT, status=after(again)), ray_job()), 2 * TIMEOUT + GRACE_SECONDS)
    assert later.due_within == GRACE_SECONDS


def test_the_trainers_own_clock_does_not_matter() -> None:
    text = record_text(sequence=4, time=NOW - timedelta(days=3))
    decision = decide(observed(job(**LIMIT, status=reported()), ray_job(), record=text), TIMEOUT)
    assert get_condition(decision.status, ConditionType.STALLED) is None


@pytest.mark.parametrize(
    ("known", "ray_jobs"),
    [
        (reported(report_cursor=None), [ray_job()]),
        (reported(report_cursor="1/bot-1-older/3"), [ray_job()]),
        (reported(), [ray_job(1, "", "Suspended")]),
        (reported(), [ray_job(1, "", "Initializing")]),
        (reported(), []),
    ],
    ids=["before the first report", "in another cluster", "in a queue", "starts again", "RayJob is gone"],
)
def test_where_no_report_is_expected_nothing_stalls(known: FineTuneJobStatus, ray_jobs: list[RayJobFacts]) -> None:
    decision = decide(observed(job(**LIMIT, status=known), *ray_jobs), 10**6)
    assert get_condition(decision.status, ConditionType.STALLED) is None
    assert last_attempt(decision).reason != "Stalled"


@pytest.mark.parametrize("policy", [{}, SUSPENDED | {"stallTimeoutSeconds": TIMEOUT}], ids=["not asked for", "suspended"])
def test_without_the_field_or_suspended_nothing_stalls(policy: dict[str, Any]) -> None:
    decision = decide(observed(job(runPolicy=policy, status=reported()), ray_job()), 10**6)
    assert get_condition(decision.status, ConditionType.STALLED) is None


def test_an_attempt_that_ends_otherwise_stalls_no_more() -> None:
    named = decide(observed(job(**LIMIT, status=reported()), ray_job()), TIMEOUT)
    for decision in (
        decide(observed(job(runPolicy=SUSPENDED, status=after(named)), ray_job()), TIMEOUT + 1),
        decide(observed(job(**LIMIT, status=after(named)), ray_job(1, "FAILED", "Failed")), TIMEOUT + 1),
    ):
        assert condition(decision, ConditionType.STALLED).status == "False"
