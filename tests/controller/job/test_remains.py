"""What attempts leave behind."""

import pytest

from controller.job.facts import Observed, RayJobFacts
from controller.job.remains import leftovers, remains
from controller.job.situation import Situation
from finetune.api.attempts import unfinished
from finetune.api.status import Attempt, AttemptOutcome
from tests.controller.job.builders import NOW, attempt, job, observed, pod, ray_job, status

OVER, RUNS = attempt(1, outcome=AttemptOutcome.FAILED), attempt(2)


def situation(*attempts: Attempt, **fields: object) -> Situation:
    of = job(status=status(*attempts))
    return Situation(Observed(job=of, **fields), of.status, NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attempts", "ray_jobs", "names"),
    [
        ((OVER,), (ray_job(1),), ["bot-1"]),
        ((OVER,), (ray_job(1, deleting=True),), []),
        ((OVER,), (ray_job(1, "FAILED", "Failed"),), []),
        ((OVER,), (ray_job(1, "", "ValidationFailed"),), ["bot-1"]),
        ((OVER,), (ray_job(1, "", "ValidationFailed", cluster=""),), []),
        ((OVER, RUNS), (ray_job(1), ray_job(2)), ["bot-1"]),
        ((OVER,), (ray_job(2),), []),
        ((), (ray_job(1),), []),
    ],
    ids=[
        "ended",
        "going",
        "final",
        "refused with its cluster",
        "refused before it had one",
        "one runs",
        "later than the status knows",
        "the status knows none",
    ],
)
def test_ray_jobs_of_attempts_that_are_over_are_deleted(
    attempts: tuple[Attempt, ...], ray_jobs: tuple[RayJobFacts, ...], names: list[str]
) -> None:
    assert [deletion.name for deletion in leftovers(situation(*attempts, ray_jobs=ray_jobs))] == names


@pytest.mark.parametrize(
    ("attempts", "seen", "words"),
    [
        ((OVER,), observed(job()), ""),
        ((OVER,), observed(job(), pods=[pod(role="head"), pod(), pod(role="submitter")]), "2 pods of attempt 1"),
        ((OVER,), observed(job(), ray_job(1)), "1 RayJob of attempt 1"),
        ((OVER,), observed(job(), ray_job(1, "FAILED", "Failed")), ""),
        ((OVER,), observed(job(), clusters=(1,)), "1 RayCluster of attempt 1"),
        ((OVER, RUNS), observed(job(), ray_job(2), pods=[pod(2)], clusters=(2,)), ""),
        ((OVER, RUNS), observed(job(), pods=[pod(1)]), "1 pod of attempt 1"),
        ((OVER, RUNS), observed(job(), pods=[pod(1), pod(2)]), "2 pods of attempts 1, 2"),
        ((OVER, RUNS), observed(job(), pods=[pod(0)]), "1 pod of an earlier attempt"),
        ((OVER, RUNS), observed(job(), pods=[pod(2)]), "1 pod of an earlier RayJob of the same attempt"),
        ((OVER,), observed(job(), ray_job(2)), "1 RayJob of attempt 2"),
    ],
    ids=[
        "nothing",
        "pods",
        "a RayJob",
        "a final one",
        "a cluster",
        "its own",
        "of the one before",
        "of both",
        "without its label",
        "of its own RayJob that is gone",
        "of one that the status does not know",
    ],
)  # fmt: skip
def test_what_may_still_write_is_reported(attempts: tuple[Attempt, ...], seen: Observed, words: str) -> None:
    assert remains(seen, unfinished(status(*attempts))) == words
