"""What is said of an attempt that runs or is about to."""

from datetime import timedelta

import pytest

from finetune.api.status import ConditionType
from tests.controller.job.builders import NOW, attempt, job, observed, ray_job, status
from tests.controller.job.decisions import condition, decide, last_attempt


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


def test_start_time_and_dashboard_come_from_the_ray_job() -> None:
    decision = decide(observed(job(status=status(attempt(start_time=None))), ray_job()))
    assert last_attempt(decision).start_time == NOW - timedelta(minutes=1)
    dashboard = decision.status.dashboard
    assert dashboard is not None
    assert (dashboard.service, dashboard.port, dashboard.token_secret) == ("bot-1-x7k2p-head-svc", 8265, "bot-1-x7k2p")
