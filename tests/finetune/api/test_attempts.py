"""The list of attempts."""

from datetime import timedelta

import pytest

from finetune.api import attempts
from finetune.api.attempts import Ending
from finetune.api.status import AttemptOutcome, Dashboard, FineTuneJobStatus, Progress
from tests.controller.job.builders import NOW, attempt, status


def test_numbers_go_on_from_the_newest_attempt() -> None:
    begun = attempts.begin(status(attempt(1, outcome=AttemptOutcome.FAILED), attempt(2, outcome=AttemptOutcome.SUSPENDED)), "bot")
    assert [(a.number, a.ray_job_name) for a in begun.attempts or []][-1] == (3, "bot-3")


def test_ending_closes_the_newest_attempt_and_takes_the_dashboard_away() -> None:
    known = status(attempt(), dashboard=Dashboard(service="s", port=1))
    ended = attempts.end(known, Ending(AttemptOutcome.FAILED, "Why", "words"), NOW)
    assert ended.attempts is not None
    assert (ended.attempts[-1].outcome, ended.attempts[-1].reason, ended.attempts[-1].end_time) == (AttemptOutcome.FAILED, "Why", NOW)
    assert ended.dashboard is None
    assert attempts.unfinished(known) is not None
    assert attempts.unfinished(ended) is None


def test_what_is_true_of_a_running_attempt_only_goes_when_it_ends() -> None:
    known = status(attempt(), progress=Progress(step=20, percent=25, tokens_per_second="512", eta_seconds=60))
    ended = attempts.end(known, Ending(AttemptOutcome.FAILED, "Why", "words"), NOW)
    assert ended.progress == Progress(step=20, percent=25)


def test_a_job_that_is_suspended_very_often_keeps_a_bounded_list_with_all_its_failures() -> None:
    known = FineTuneJobStatus()
    for number in range(1, 300):
        known = attempts.begin(known, "bot")
        outcome = AttemptOutcome.FAILED if number % 50 == 0 else AttemptOutcome.SUSPENDED
        known = attempts.end(known, Ending(outcome, "Reason", ""), NOW)
    assert len(known.attempts or []) == attempts.KEPT
    assert attempts.charged(known) == 5


FAILED, INTERRUPTED, SUSPENDED = AttemptOutcome.FAILED, AttemptOutcome.INTERRUPTED, AttemptOutcome.SUSPENDED


@pytest.mark.parametrize(
    ("outcomes", "seconds"),
    [
        ([], 0),
        ([FAILED], 10),
        ([INTERRUPTED], 10),
        ([FAILED, INTERRUPTED], 20),
        ([FAILED] * 5, 160),
        ([FAILED] * 6, 300),
        ([INTERRUPTED] * 99, 300),
        ([FAILED, FAILED, SUSPENDED], 0),
        ([FAILED, FAILED, SUSPENDED, INTERRUPTED], 10),
        ([FAILED, FAILED, None], 0),
    ],
    ids=["none", "a failure", "an interruption", "both", "five", "six", "99", "suspended", "after a suspension", "one runs"],
)
def test_the_pause_doubles_with_each_failure_or_interruption_in_a_row(outcomes: list[AttemptOutcome | None], seconds: int) -> None:
    entries = [attempt(n, outcome=outcome, end_time=outcome and NOW) for n, outcome in enumerate(outcomes, 1)]
    assert attempts.retry_wait(status(*entries), NOW) == timedelta(seconds=seconds)


def test_each_job_adds_a_share_of_its_own_which_is_the_same_after_every_restart() -> None:
    known = status(attempt(1, outcome=FAILED, end_time=NOW))
    pauses = [attempts.retry_wait(known, NOW, f"uid-{number}").total_seconds() for number in range(200)]
    assert {10, 12} <= set(pauses) <= {10, 11, 12}
    assert pauses == [attempts.retry_wait(known, NOW, f"uid-{number}").total_seconds() for number in range(200)]
    long = status(*(attempt(number, outcome=FAILED, end_time=NOW) for number in range(1, 10)))
    spread = [attempts.retry_wait(long, NOW, f"uid-{number}").total_seconds() for number in range(200)]
    assert min(spread) >= 300
    assert max(spread) <= 375
    assert len(set(spread)) > 50


@pytest.mark.parametrize(("passed", "seconds"), [(4, 6), (10, 0), (1000, 0), (-5, 0)], ids=["early", "due", "late", "clock went back"])
def test_the_pause_runs_from_the_last_end(passed: int, seconds: int) -> None:
    known = status(attempt(1, outcome=FAILED, end_time=NOW))
    assert attempts.retry_wait(known, NOW + timedelta(seconds=passed)) == timedelta(seconds=seconds)
