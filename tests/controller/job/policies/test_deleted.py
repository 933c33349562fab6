"""A job that is being deleted is left alone."""

from tests.controller.job.builders import attempt, job, observed, ray_job, status
from tests.controller.job.decisions import decide


def test_a_job_that_is_being_deleted_is_left_alone() -> None:
    decision = decide(observed(job(deleting=True, status=status(attempt())), ray_job()))
    assert decision.actions == ()
    assert decision.status == status(attempt())
