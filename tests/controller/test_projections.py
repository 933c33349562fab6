"""What is kept in the caches is enough for whoever reads them."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from controller.job.facts import RayJobFacts
from controller.job.names import labels
from controller.job.objects.configmap import config_map, progress_config_map
from controller.job.objects.rayjob import ray_job
from controller.job.objects.rbac import role
from controller.job.parsing import belongs_to, has_label_of, job_from, pod_from, ray_job_from
from controller.kinds import QUEUE_LABEL
from controller.projections import (
    LAST_WORDS_MAX,
    kept_of_claim,
    kept_of_config_map,
    kept_of_job,
    kept_of_pod,
    kept_of_quota,
    kept_of_ray_job,
    kept_of_support,
)
from controller.stores import claims_of, owner_of
from finetune.api.folding import RecordError, parse
from finetune.api.record import RECORD_MAX_BYTES
from tests.builders import resource
from tests.controller.job.builders import UID, Settings, job, record_text

SERVER_SIDE = {"uid": "u", "resourceVersion": "7", "generation": 2, "creationTimestamp": "2026-03-01T12:00:00Z", "managedFields": [{}]}
JOB = {**resource(), "metadata": {"name": "bot", "namespace": "team", "annotations": {"last-applied": "{}"}, **SERVER_SIDE, "uid": UID}}
QUEUED = {"queue": "team-a", "priority_class": "high"}
MANY_LABELS = {f"finetune.dev/label-{number}": "x" for number in range(40)}
LABELS = {**labels("bot", UID, 2, "head"), "app.kubernetes.io/name": "kuberay"}


def stored(item: dict[str, Any], **content: Any) -> dict[str, Any]:
    return {**item, "metadata": {**item["metadata"], **SERVER_SIDE}, **content}


def pod(**status: Any) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "team", "labels": LABELS, "ownerReferences": [{"uid": "of the RayCluster", "name": "c"}]}
    return stored({"metadata": metadata, "spec": {"nodeName": "n"}}, status={"phase": "Pending", "podIP": "10.0.0.1", **status})


WAITS = {"name": "ray-head", "image": "i", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}
DIED = {"name": "ray-head", "lastState": {"terminated": {"reason": "OOMKilled"}}}
PLACED = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-01T12:00:00Z"}, {"type": "Ready", "status": "False"}]
FAILED = {
    "jobId": "j", "jobStatus": "FAILED", "jobDeploymentStatus": "Failed", "reason": "AppFailed", "message": "m", "rayClusterName": "c",
}  # fmt: skip
ENDED = {"name": "ray-head", "restartCount": 1, "state": {"terminated": {"reason": "Error", "exitCode": 1, "message": "KeyError"}}}
DISRUPTED = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
CREATING = {"state": {"waiting": {"reason": "ContainerCreating"}}}


def claims(item: dict[str, Any]) -> dict[str, Any]:
    """A pod that waits for GPUs: nothing has been said of a node."""
    return {**item, "spec": {"resourceClaims": [{"name": "gpus", "resourceClaimTemplateName": "gpus-2"}], "containers": [{"name": "x"}]}}


def without_token(item: dict[str, Any]) -> dict[str, Any]:
    del item["spec"]["rayClusterSpec"]["authOptions"]
    return item


def ray_job_of_bot(item: dict[str, Any]) -> RayJobFacts:
    return ray_job_from(item, "bot")


@pytest.mark.parametrize(
    ("item", "keep", "read"),
    [
        (
            stored(ray_job(job(), 2, Settings(), {}), status=FAILED),
            kept_of_ray_job,
            ray_job_of_bot,
        ),
        (stored(ray_job(job(), 2, Settings(), {})), kept_of_ray_job, ray_job_of_bot),
        (stored(ray_job(replace(job(), **QUEUED), 2, Settings(), {})), kept_of_ray_job, ray_job_of_bot),
        ({**JOB, "metadata": {**JOB["metadata"], "labels": {**MANY_LABELS, QUEUE_LABEL: "team-a"}}}, kept_of_job, job_from),
        (without_token(stored(ray_job(job(), 2, Settings(), {}))), kept_of_ray_job, ray_job_of_bot),
        (JOB, kept_of_job, job_from),
        ({**JOB, "status": {"attempts": [{"number": 1, "rayJobName": "bot-1"}]}}, kept_of_job, job_from),
        (pod(containerStatuses=[WAITS]), kept_of_pod, pod_from),
        (pod(initContainerStatuses=[DIED]), kept_of_pod, pod_from),
        (pod(containerStatuses=[CREATING], conditions=PLACED), kept_of_pod, pod_from),
        (pod(reason="Evicted", conditions=[*PLACED, DISRUPTED], containerStatuses=[ENDED]), kept_of_pod, pod_from),
        (pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "m"}]), kept_of_pod, pod_from),
        (claims(pod()), kept_of_pod, pod_from),
        (claims(pod(resourceClaimStatuses=[{"name": "gpus", "resourceClaimName": "bot-1-gpus-x7k2p"}])), kept_of_pod, pod_from),
    ],
    ids=[
        "RayJob",
        "fresh RayJob",
        "queued RayJob",
        "queued job",
        "unsafe RayJob",
        "job",
        "job with status",
        "waiting pod",
        "killed pod",
        "pod on its way",
        "evicted pod",
        "pod without a node",
        "pod without its claim",
        "pod with its claim",
    ],
)
def test_what_is_kept_reads_like_the_whole(item: dict[str, Any], keep: Callable[..., Any], read: Callable[..., Any]) -> None:
    kept = keep(copy.deepcopy(item))
    assert read(kept) == read(item)
    assert len(str(kept)) < len(str(item))


@pytest.mark.parametrize(
    ("item", "keep", "ours"),
    [
        (stored(ray_job(job(), 2, Settings(), {})), kept_of_ray_job, belongs_to),
        (pod(), kept_of_pod, has_label_of),
        (stored(config_map(job(), 2)), kept_of_config_map, belongs_to),
        (stored(progress_config_map(job(), 2)), kept_of_config_map, belongs_to),
        (stored(role(job(), 2)), kept_of_support, belongs_to),
    ],
    ids=["RayJob", "pod", "configuration", "progress", "role"],
)
def test_a_child_is_found_and_known_as_before(item: dict[str, Any], keep: Callable[..., Any], ours: Callable[..., bool]) -> None:
    kept = keep(item)
    assert list(owner_of(kept)) == ["team/bot"]
    assert ours(kept, job())
    assert kept["metadata"]["resourceVersion"] == "7"


def test_of_config_maps_the_record_is_kept_alone() -> None:
    progress = stored(progress_config_map(job(), 2), data={"record.json": record_text(), "more": "x"})
    assert kept_of_config_map(progress)["data"] == {"record.json": record_text()}
    assert kept_of_config_map(stored(config_map(job(), 2)))["data"] == {}


def test_of_what_a_pod_wrote_at_its_end_the_last_part_is_kept() -> None:
    long = {"state": {"terminated": {"exitCode": 1, "message": "x" * 4096 + "KeyError"}}}
    read = pod_from(kept_of_pod(pod(containerStatuses=[long])))
    assert read.last_words.endswith("KeyError")
    assert len(read.last_words) == LAST_WORDS_MAX


def test_what_a_trainer_may_blow_up_is_kept_in_bounds() -> None:
    progress = stored(progress_config_map(job(), 2), data={"record.json": "x" * 2**20}, immutable=True)
    progress["metadata"]["labels"] |= {f"finetune.dev/label-{number}": "x" for number in range(1000)}
    progress["metadata"]["ownerReferences"] = [
        *({"kind": "ConfigMap", "uid": str(number)} for number in range(1000)),
        *progress["metadata"]["ownerReferences"],
    ]
    progress["metadata"]["finalizers"] = ["example.com/" + "x" * 1000]
    kept = kept_of_config_map(progress)
    assert len(str(kept)) < 2 * RECORD_MAX_BYTES
    assert belongs_to(kept, job())
    assert kept["immutable"]
    assert kept["metadata"]["finalizers"]
    with pytest.raises(RecordError, match="over the limit"):
        parse(kept["data"]["record.json"])


def test_a_job_keeps_what_its_claims_and_its_events_are_found_by() -> None:
    kept = kept_of_job(JOB)
    assert list(claims_of(kept)) == ["team/models"]
    assert (kept["apiVersion"], kept["kind"]) == ("finetune.dev/v1alpha1", "FineTuneJob")
    assert "annotations" not in kept["metadata"]


def test_of_a_claim_nothing_is_kept_but_that_it_is_there() -> None:
    claim = stored({"metadata": {"name": "models", "namespace": "team", "labels": {"a": "b"}}})
    assert kept_of_claim(claim) == {"metadata": {"name": "models", "namespace": "team", "uid": "u", "resourceVersion": "7"}}


def test_of_a_quota_what_it_allows_and_what_is_in_use_are_kept() -> None:
    kept = {"spec": {"hard": {"pods": "3"}}, "status": {"hard": {"pods": "2"}, "used": {"pods": "1"}}}
    quota = stored({"metadata": {"name": "few", "namespace": "team", "labels": {"a": "b"}}, **kept})
    metadata = {"name": "few", "namespace": "team", "uid": "u", "resourceVersion": "7"}
    assert kept_of_quota(quota) == {"metadata": metadata, **kept}
