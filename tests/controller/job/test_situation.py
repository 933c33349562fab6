"""What policies hand on to each other: things to do, when to look again, the status so far."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from controller.job.refusals import Refused
from controller.job.situation import CreateAttempt, Situation
from finetune.api.status import AttemptOutcome, ConditionType
from tests.controller.job.builders import NOW, attempt, job, observed, ray_job, status
from tests.controller.job.decisions import condition, deletion

SECOND = timedelta(seconds=1)
REFUSED = Refused("Unreadable", "attempt 1", "no JSON", 7)


def situation() -> Situation:
    known = status(attempt())
    return Situation(observed(job(status=known), ray_job()), known, NOW)


def test_without_a_time_to_look_again_only_a_change_brings_the_job_back() -> None:
    assert situation().ends().requeue_after is None


def test_the_earliest_of_several_times_to_look_again_wins() -> None:
    late, early = NOW + 60 * SECOND, NOW + 5 * SECOND
    assert situation().wake_at(late).wake_at(early).ends().requeue_after == 5
    assert situation().wake_at(early).wake_at(late).wake_in(30 * SECOND).ends().requeue_after == 5


def test_a_deadline_counts_as_due_and_a_poll_does_not() -> None:
    assert situation().wake_in(30 * SECOND).ends().due_within is None
    both = situation().wake_in(30 * SECOND).wake_at(NOW + 60 * SECOND).ends()
    assert (both.requeue_after, both.due_within) == (30, 60)


def test_a_time_that_has_passed_means_at_once() -> None:
    assert situation().wake_at(NOW - SECOND).ends().requeue_after == 0


def test_actions_keep_their_order_and_each_is_done_once() -> None:
    decided = situation().do(deletion(2)).do(deletion(1), deletion(2)).do(CreateAttempt(3))
    assert decided.ends().actions == (deletion(2), deletion(1), CreateAttempt(3))


def test_what_a_policy_changes_is_seen_by_the_next_and_leaves_the_earlier_situation_as_it_was() -> None:
    before = situation()
    after = (
        before.condition(ConditionType.RUNNING, "False", "Why", "words").with_attempt(outcome=AttemptOutcome.INTERRUPTED).refuse(REFUSED)
    )
    assert condition(after.ends(), ConditionType.RUNNING).reason == "Why"
    assert (after.attempt, after.ray_job, after.ends().refused) == (None, None, (REFUSED,))
    assert before == situation()


@pytest.mark.parametrize("fields", [{"end_tme": NOW}, {"outcome": "Interupted"}], ids=["a name", "a value"])
def test_a_misspelled_change_is_refused_where_it_is_made(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        situation().with_attempt(**fields)
    with pytest.raises(ValidationError):
        situation().with_status(**fields)


def test_a_plan_that_is_held_back_creates_nothing_and_still_does_the_rest_in_time() -> None:
    decided = situation().do(deletion(1), CreateAttempt(2)).wake_in(30 * SECOND).refuse(REFUSED).ends()
    held = decided.held_back(status())
    assert (decided.creates, held.creates) == (True, False)
    assert (held.status, held.actions, held.requeue_after, held.refused) == (status(), (deletion(1),), 30, (REFUSED,))
