"""An earlier job is written down in the first pass that sees that it has succeeded, whatever else the job waits for."""

from typing import Any

import pytest

from controller.job.facts import EarlierFacts, Missing
from finetune.api.resolve import CONTINUED_JOB, MODEL_OF_JOB
from finetune.api.sources import ClaimPath
from finetune.api.status import AttemptOutcome, EarlierJob
from tests.controller.job.builders import attempt, job, observed, status
from tests.controller.job.decisions import SUSPENDED, decide, ended


def found(field: str = MODEL_OF_JOB) -> EarlierJob:
    return EarlierJob(spec_field=field, name="first", uid="u", output=ClaimPath(claim_name="models"))


@pytest.mark.parametrize(
    ("sections", "fields"),
    [
        ({"runPolicy": SUSPENDED}, {}),
        ({}, {"missing": (Missing("no claim"),)}),
        ({}, {"kuberay_installed": False}),
        ({}, {"refused": ("priorityClassName: not allowed",)}),
        ({}, {"clusters": (1,)}),
    ],
    ids=["suspended", "a reference is missing", "no KubeRay", "refused", "pods of before"],
)
def test_a_job_that_cannot_start_writes_down_what_it_will_start_from(sections: Any, fields: Any) -> None:
    decision = decide(observed(job(**sections), earlier=(EarlierFacts(found()),), **fields))
    assert (decision.status.earlier_jobs, decision.actions) == ([found()], ())


def test_one_of_two_is_written_down_while_the_other_is_waited_for() -> None:
    earlier = (EarlierFacts(found()), EarlierFacts(problem="continueFrom: the job other has not succeeded yet"))
    first = decide(observed(job(), earlier=earlier))
    assert (first.status.earlier_jobs, first.status.attempts, first.status.phase) == ([found()], None, "Waiting")
    both = (EarlierFacts(found()), EarlierFacts(found(CONTINUED_JOB)))
    assert decide(observed(job(status=first.status), earlier=both)).status.earlier_jobs == [found(), found(CONTINUED_JOB)]


@pytest.mark.parametrize(
    "known",
    [status(attempt(), earlier_jobs=[found()]), status(ended(1, AttemptOutcome.FAILED), earlier_jobs=[found()])],
    ids=["an attempt", "between attempts"],
)
def test_where_none_is_found_what_is_written_stays(known: Any) -> None:
    assert decide(observed(job(status=known))).status.earlier_jobs == [found()]
