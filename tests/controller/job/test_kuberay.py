"""An attempt that KubeRay has not begun with: its operator may not run."""

from datetime import timedelta

import pytest

from controller.job.kuberay import PATIENCE
from finetune.api.status import ConditionType
from tests.controller.job.builders import NOW, attempt, job, observed, pod, ray_job, status
from tests.controller.job.decisions import condition, decide

LONG_AGO = NOW - PATIENCE


def said(deployment_status: str, job_status: str = "", pods: int = 0, **fields: object) -> str:
    known = status(attempt(), waiting_since=fields.pop("waiting_since", LONG_AGO))
    child = ray_job(1, job_status, deployment_status, **{"created": LONG_AGO, **fields})
    decision = decide(observed(job(status=known), child, pods=[pod()] * pods))
    return condition(decision, ConditionType.RUNNING).message


def test_a_ray_job_that_nobody_takes_up_says_that_the_operator_may_not_run() -> None:
    message = said("")
    assert "KubeRay has not taken up the RayJob bot-1 since 11:56:00 UTC" in message
    assert "its operator does not run, watches other namespaces or is busy" in message


def test_a_cluster_without_any_pod_says_where_to_look() -> None:
    assert "KubeRay has created no pod since 11:56:00 UTC; see `kubectl describe rayjob bot-1`" in said("Initializing")


@pytest.mark.parametrize(
    "message",
    [
        said("", created=LONG_AGO + timedelta(seconds=1)),
        said("", waiting_since=LONG_AGO + timedelta(seconds=1)),
        said("", waiting_since=None),
        said("Initializing", pods=1),
        said("Running", "PENDING"),
        said("Running", "RUNNING"),
        said("Suspended"),
    ],
    ids=["a fresh RayJob", "released by a queue", "just released", "a pod", "submitted", "it runs", "in a queue"],
)
def test_nothing_is_said_of_the_operator_where_it_works_or_may_still(message: str) -> None:
    assert "operator" not in message
    assert "no pod" not in message


def test_the_job_is_looked_at_when_it_is_time_to_say_so_and_not_for_that_afterwards() -> None:
    fresh = ray_job(1, "", "", created=NOW)
    known = status(attempt(), waiting_since=NOW)
    unlimited = job(status=known, runPolicy={"pendingDeadlineSeconds": 100_000})
    assert decide(observed(unlimited, fresh)).requeue_after == PATIENCE.total_seconds()
    later = decide(observed(unlimited, fresh), seconds=PATIENCE.total_seconds()).requeue_after
    assert later is None or later > 10 * PATIENCE.total_seconds()
