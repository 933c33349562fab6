"""Where an attempt runs and which pod failed first is known after its pods are gone."""

from dataclasses import replace

import pytest

from finetune.api.status import FailedPod
from tests.controller.job.builders import attempt, job, observed, pod, ray_job, status
from tests.controller.job.decisions import after, decide, last_attempt

KILLED = pod(node="gpu-3", failed=True, reasons=("OOMKilled",), exit_code=137, out_of_memory=True)
NOTED = FailedPod(name="bot-1-worker", node="gpu-3", reason="OOMKilled", exit_code=137)


def test_the_node_of_the_head_and_the_pod_that_failed_stay_known() -> None:
    first = decide(observed(job(status=status(attempt())), ray_job(), pods=[pod(role="head", node="cpu-1"), KILLED]))
    gone = decide(observed(job(status=after(first)), ray_job(1, "FAILED", "Failed")))
    for decision in (first, gone):
        assert last_attempt(decision).node == "cpu-1"
        assert last_attempt(decision).failed_pod == NOTED


def test_what_fails_later_is_an_effect() -> None:
    later = pod(role="head", node="cpu-1", failed=True, reasons=("Error",), exit_code=1)
    decision = decide(observed(job(status=status(attempt(failed_pod=NOTED))), ray_job(), pods=[later]))
    assert last_attempt(decision).failed_pod == NOTED


@pytest.mark.parametrize(
    "other",
    [pod(node="gpu-3"), pod(role="submitter", failed=True, reasons=("Error",)), pod(2, failed=True, reasons=("Error",))],
    ids=["runs", "the submitter", "another attempt's"],
)
def test_only_a_pod_that_trains_and_failed_is_noted(other: object) -> None:
    decision = decide(observed(job(status=status(attempt())), ray_job(), pods=[other]))  # type: ignore[list-item]
    assert last_attempt(decision).failed_pod is None


def test_a_pod_that_failed_and_was_gone_before_anybody_looked_is_noted_before_those_that_failed_after_it() -> None:
    later = pod(role="head", node="cpu-1", failed=True, reasons=("Error",), exit_code=1)
    decision = decide(observed(job(status=status(attempt())), ray_job(), pods=[later], fallen=(replace(KILLED, out_of_memory=False),)))
    assert last_attempt(decision).failed_pod == NOTED


def test_of_pods_that_are_gone_only_one_of_the_attempt_is_noted_and_where_its_head_ran() -> None:
    of_before, head = pod(2, failed=True, reasons=("Error",)), pod(role="head", node="cpu-1", failed=True, reasons=("Evicted",))
    decision = decide(observed(job(status=status(attempt())), ray_job(), fallen=(of_before, head)))
    assert (last_attempt(decision).node, last_attempt(decision).failed_pod) == (
        "cpu-1",
        FailedPod(name=head.name, node="cpu-1", reason="Evicted"),
    )
