"""What kind of obstacle an error is, what is said of it, and how the pauses between tries grow."""

import re

import pytest

from controller.job.hindrance import Hindrance, Hindrances, Kind, in_words, kind_of
from controller.kinds import RAY_JOBS
from controller.runtime.backoff import AGAIN_SPREAD, backoff_seconds
from controller.runtime.errors import Conflict, Forbidden, Invalid, KubeError, NotFound, ServerError, Unreachable


def hindrance(kind: Kind = Kind.REFUSED) -> Hindrance:
    return Hindrance(kind, RAY_JOBS, {}, "words", ("uid", 1))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Forbidden("bot-1 is forbidden: exceeded quota: jobs"), Kind.QUOTA),
        (Forbidden("admission webhook denied the request"), Kind.REFUSED),
        (Invalid("denied by policy"), Kind.REFUSED),
        (ServerError("failed calling webhook"), Kind.FAILING),
        (NotFound("the server could not find the requested resource"), Kind.FAILING),
        (Conflict("changed"), None),
        (Unreachable("down"), None),
    ],
    ids=["quota", "webhook", "policy", "server error", "no such kind", "conflict", "outage"],
)
def test_an_error_counts_as_an_obstacle_only_if_it_is_about_the_object_itself(error: KubeError, kind: Kind | None) -> None:
    assert kind_of(error) is kind


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (82.5, "83 s"), (180, "180 s"), (181, "4 minutes")])
def test_durations_are_rounded_up_for_people(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_pauses_double_up_to_the_longest_and_start_again_for_another_obstacle() -> None:
    obstacles = Hindrances(lambda: 0.0, jitter=lambda: 0.5)
    pauses = [obstacles.remaining_seconds(obstacles.put_off("a", hindrance())) for _ in range(6)]
    assert pauses == [5, 10, 20, 40, 60, 60]
    assert obstacles.remaining_seconds(obstacles.put_off("a", hindrance(Kind.NAME_TAKEN))) == 5
    assert obstacles.remaining_seconds(obstacles.put_off("another", hindrance())) == 5
    obstacles.forget("a")
    assert obstacles.get("a") is None


def test_an_obstacle_that_has_changed_is_tried_soon_unless_it_changes_back() -> None:
    obstacles = Hindrances(lambda: 0.0, jitter=lambda: 0.5)
    for _ in range(6):
        obstacles.put_off("a", hindrance())
    assert obstacles.remaining_seconds(obstacles.hurry("a", True)) == 2
    assert obstacles.remaining_seconds(obstacles.hurry("a", False)) == 60


def test_a_server_that_fails_is_reported_only_once_it_has_failed_for_a_while() -> None:
    obstacles = Hindrances(lambda: 0.0)
    assert [obstacles.put_off("a", hindrance(Kind.FAILING)).reported for _ in range(4)] == [False, False, True, True]
    assert obstacles.put_off("a", hindrance(Kind.REFUSED)).reported


@pytest.mark.parametrize("kind", Kind, ids=str)
def test_the_bound_in_the_message_is_the_longest_pause_that_the_queue_may_make(kind: Kind) -> None:
    longest = backoff_seconds(100, kind.first_seconds, kind.longest_pause_seconds, lambda: 1.0) * (1.0 + AGAIN_SPREAD)
    bound = re.search(r"within (\d+) (s|minutes)", kind.outlook)
    assert bound is not None
    unit = 60 if bound[2] == "minutes" else 1
    assert longest <= int(bound[1]) * unit <= longest + unit
