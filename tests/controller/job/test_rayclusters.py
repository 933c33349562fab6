"""What KubeRay says of a Ray cluster explains why an attempt does not run; nothing that it may say does harm."""

from typing import Any

import pytest

from controller.job.parsing import ray_job_from
from controller.job.rayclusters import BY_CONDITION, BY_STATE, kept_of_cluster, trouble_in
from controller.projections import kept_of_ray_job
from finetune.api.status import ConditionType
from tests.controller.job.builders import attempt, job, observed, pod, ray_job, status
from tests.controller.job.decisions import condition, decide

QUOTA = 'pods "bot-1-x7k2p-head" is forbidden: exceeded quota: few, requested: pods=1, used: pods=0, limited: pods=0'


def cluster(kind: str, value: str = "True", reason: str = "Why", message: str = "words", **fields: Any) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": value, "reason": reason, "message": message}], **fields}


def test_pods_that_kuberay_cannot_create_are_told_with_its_reason() -> None:
    words = trouble_in(cluster("ReplicaFailure", reason="FailedCreateHeadPod", message=QUOTA))
    assert words == f"KubeRay cannot create or delete pods of the Ray cluster: FailedCreateHeadPod: {QUOTA}"
    decision = decide(observed(job(status=status(attempt())), ray_job(1, "", "Initializing", cluster_trouble=words)))
    assert condition(decision, ConditionType.RUNNING).message == f"attempt 1: {words}"


def test_a_pod_that_says_what_it_waits_for_says_more() -> None:
    waits = pod(role="head", waiting_reason="Unschedulable", waiting_message="no node")
    what = observed(job(status=status(attempt())), ray_job(1, "", "Initializing", cluster_trouble="trouble"), pods=[waits])
    assert "no node" in condition(decide(what), ConditionType.RUNNING).message


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"state": "suspended"}, "the Ray cluster was suspended by somebody else, perhaps a queue"),
        (
            cluster("RayClusterSuspended", reason="RayClusterSuspended", message=""),
            "the Ray cluster was suspended by somebody else, perhaps a queue",
        ),
        ({"state": "failed", "reason": "no head"}, "KubeRay reports that the Ray cluster has failed: no head"),
        ({"state": "ready"}, ""),
        (cluster("ReplicaFailure", "False"), ""),
        (cluster("ReplicaFailure", "Unknown"), ""),
        (cluster("HeadPodReady"), ""),
        (cluster("NewIn19", state="dreaming"), ""),
        ({}, ""),
        (None, ""),
        ("ready", ""),
        ({"state": 7, "reason": [], "conditions": ["x", {"type": "ReplicaFailure"}, {"type": ["ReplicaFailure"], "status": "True"}]}, ""),
    ],
)
def test_states_and_conditions_say_what_stops_the_cluster_and_no_more(status: Any, words: str) -> None:
    assert trouble_in(status) == words


@pytest.mark.parametrize("state", [*BY_STATE, "dreaming"])
@pytest.mark.parametrize("kind", [*BY_CONDITION, "NewIn19"])
@pytest.mark.parametrize("value", ["True", "False", "Unknown"])
def test_what_a_cache_keeps_says_the_same(state: str, kind: str, value: str) -> None:
    said = cluster(kind, value, state=state)
    assert trouble_in(kept_of_cluster(said)) == trouble_in(said)


def test_the_cache_of_ray_jobs_keeps_it_and_a_message_of_any_length_is_cut() -> None:
    said = cluster("ReplicaFailure", message="x" * 100_000) | {"head": {"podIP": "10.0.0.1"}, "endpoints": {}}
    metadata = {"name": "bot-1", "namespace": "team", "uid": "u", "creationTimestamp": "2026-03-01T12:00:00Z"}
    kept = kept_of_ray_job({"metadata": metadata, "spec": {}, "status": {"jobDeploymentStatus": "Initializing", "rayClusterStatus": said}})
    assert len(str(kept["status"])) < 2000
    assert ray_job_from(kept, "bot").cluster_trouble.startswith("KubeRay cannot create or delete pods of the Ray cluster: Why: xxx")
