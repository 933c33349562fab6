"""Objects of the API are parsed defensively."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from controller.job.facts import PodFacts
from controller.job.parsing import belongs_to, is_ray_job_of, job_from, pod_from, ray_job_from, status_from
from tests.builders import resource
from tests.controller.job.builders import NOW, UID, job

METADATA = {"name": "bot", "namespace": "team", "uid": UID, "generation": 3, "resourceVersion": "7"}


def pod_with(spec: dict[str, Any] | None = None, **status: Any) -> PodFacts:
    labels = {"finetune.dev/attempt": "2", "finetune.dev/role": "worker"}
    metadata = {"name": "p", "creationTimestamp": "2026-03-01T11:55:00Z", "labels": labels}
    return pod_from({"metadata": metadata, "spec": spec or {}, "status": status})


def test_a_job_is_read_with_its_spec_and_status() -> None:
    read = job_from({**resource(), "metadata": METADATA, "status": {"phase": "Running"}})
    assert (read.name, read.generation, read.resource_version, read.status.phase) == ("bot", 3, "7", "Running")
    assert read.spec is not None
    assert read.max_attempts == 3
    assert not read.suspended


def test_a_spec_that_this_version_does_not_understand_is_a_problem_with_its_field() -> None:
    read = job_from({"metadata": METADATA, "spec": {**resource()["spec"], "task": "poetry"}})
    assert read.spec is None
    assert read.spec_problem.startswith("spec.task: ")


@pytest.mark.parametrize(
    ("policy", "suspended", "attempts"),
    [
        ({"suspend": True, "maxAttempts": 5}, True, 5),
        ({"suspend": True, "maxAttempts": 5, "stallTimeoutSeconds": 60}, True, 5),
        ({"suspend": True, "maxAttempts": "many"}, True, 3),
        ({}, False, 3),
    ],
    ids=["read", "with what another version knows", "with a value that is none", "empty"],
)
def test_what_the_user_wants_of_a_job_is_read_though_its_spec_cannot_be(policy: dict[str, Any], suspended: bool, attempts: int) -> None:
    read = job_from({"metadata": METADATA, "spec": {**resource()["spec"], "task": "poetry", "runPolicy": policy}})
    assert read.spec is None
    assert (read.suspended, read.max_attempts) == (suspended, attempts)


def test_a_ray_job_without_status_is_fresh() -> None:
    read = ray_job_from(
        {"metadata": {"name": "bot-1", "uid": "x", "creationTimestamp": "2026-03-01T12:00:00Z", "labels": {"finetune.dev/attempt": "1"}}},
        "bot",
    )
    assert (read.job_status, read.deployment_status, read.cluster, read.attempt, read.deleting) == ("", "", "", 1, False)


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        ({"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}, "", ""),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, "", ""),
        (
            {"initContainerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]},
            "ErrImagePull",
            "no such image",
        ),
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "t" not found'}}}]},
            "CreateContainerConfigError",
            'secret "t" not found',
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]},
            "Unschedulable",
            "0/1 nodes",
        ),
        ({}, "", ""),
    ],
    ids=["runs", "on its way", "no image", "no secret", "no node", "no status"],
)
def test_what_keeps_a_pod_from_starting_is_found(status: dict[str, Any], reason: str, message: str) -> None:
    pod = pod_with(**status)
    assert (pod.waiting_reason, pod.waiting_message) == (reason, message)
    assert (pod.attempt, pod.trains) == (2, True)


PLACED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-01T12:00:00Z"}


@pytest.mark.parametrize(
    ("status", "since"),
    [
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}], "conditions": [PLACED]}, NOW),
        (
            {
                "initContainerStatuses": [{"state": {"waiting": {"reason": "PodInitializing"}}}],
                "containerStatuses": [{"state": {"waiting": {"reason": "PodInitializing"}}}],
                "conditions": [PLACED],
            },
            NOW,
        ),
        (
            {
                "initContainerStatuses": [{"state": {"running": {}}}],
                "containerStatuses": [{"state": {"waiting": {"reason": "PodInitializing"}}}],
                "conditions": [PLACED],
            },
            None,
        ),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}], "conditions": [PLACED]}, None),
        ({"containerStatuses": [{"state": {"running": {}}}], "conditions": [PLACED]}, None),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, NOW - timedelta(minutes=5)),
        ({}, None),
    ],
    ids=["creating", "before its first container", "waits for the head", "trouble", "runs", "its own age", "no status"],
)
def test_a_pod_prepares_until_something_of_it_has_started(status: dict[str, Any], since: datetime | None) -> None:
    assert pod_with(**status).preparing_since == since


CLAIMS = [{"name": "gpus", "resourceClaimTemplateName": "gpus-2"}]
CLAIMED = {"resourceClaimStatuses": [{"name": "gpus", "resourceClaimName": "bot-2-gpus-x7k2p"}]}


@pytest.mark.parametrize(
    ("spec", "status", "since"),
    [
        ({"resourceClaims": CLAIMS}, {}, NOW - timedelta(minutes=5)),
        ({"resourceClaims": CLAIMS}, CLAIMED, None),
        ({"resourceClaims": [*CLAIMS, {"name": "network", "resourceClaimTemplateName": "nic"}]}, CLAIMED, NOW - timedelta(minutes=5)),
        ({"resourceClaims": CLAIMS, "nodeName": "node-1"}, {}, None),
        ({"resourceClaims": [{"name": "gpus", "resourceClaimName": "shared"}]}, {}, None),
        ({}, {}, None),
    ],
    ids=["waits", "made", "one is not", "placed", "one of somebody's", "no claims"],
)
def test_a_pod_waits_for_its_claim_until_it_is_made(spec: dict[str, Any], status: dict[str, Any], since: datetime | None) -> None:
    assert pod_with(spec, **status).unclaimed_since == since


@pytest.mark.parametrize("state", ["state", "lastState"])
def test_a_container_that_ran_out_of_memory_is_found_after_its_restart_too(state: str) -> None:
    assert pod_with(containerStatuses=[{state: {"terminated": {"reason": "OOMKilled"}}}]).out_of_memory


ENDED = {"exitCode": 137, "reason": "Error", "message": "CUDA error: an illegal memory access"}
PREEMPTED = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}


@pytest.mark.parametrize(
    ("status", "deleting", "reasons", "code"),
    [
        ({"containerStatuses": [{"state": {"terminated": ENDED}}]}, False, ("Error",), 137),
        ({"containerStatuses": [{"state": {"running": {}}, "lastState": {"terminated": ENDED}}]}, False, ("Error",), 137),
        ({"reason": "Evicted", "message": "The node was low on resource: memory"}, False, ("Evicted",), None),
        ({"conditions": [PREEMPTED], "containerStatuses": [{"state": {"terminated": ENDED}}]}, True, ("PreemptionByScheduler",), None),
        ({"containerStatuses": [{"state": {"terminated": ENDED}}]}, True, (), None),
        ({"containerStatuses": [{"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}, True, ("OOMKilled",), 137),
        ({"containerStatuses": [{"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}, False, (), None),
        ({"conditions": [{**PREEMPTED, "status": "False"}]}, False, (), None),
    ],
    ids=["died", "restarted", "evicted", "preempted", "told to stop", "out of memory", "done", "spared"],
)
def test_what_a_pod_died_of_is_found_but_not_that_it_was_told_to_stop(
    status: dict[str, Any], deleting: bool, reasons: tuple[str, ...], code: int | None
) -> None:
    metadata = {"name": "p", **({"deletionTimestamp": "2026-03-01T12:00:00Z"} if deleting else {})}
    read = pod_from({"metadata": metadata, "spec": {"nodeName": "gpu-3"}, "status": status})
    assert (read.failed, read.reasons, read.exit_code, read.node) == (bool(reasons), reasons, code, "gpu-3")
    assert read.last_words == (ENDED["message"] if reasons == ("Error",) else "")


@pytest.mark.parametrize(
    ("owners", "labels", "ours"),
    [
        ([{"uid": UID}], {}, True),
        ([{"uid": UID}], {"finetune.dev/job-uid": "other"}, True),
        ([{"uid": "other"}, {"uid": UID}], {}, True),
        ([{"uid": "other"}], {"finetune.dev/job": "bot"}, False),
        ([{"uid": "other"}], {"finetune.dev/job": "bot", "finetune.dev/job-uid": UID}, False),
        ([], {"finetune.dev/job-uid": UID}, True),
        ([], {"finetune.dev/job": "bot"}, False),
    ],
    ids=["owned", "labels edited", "two owners", "of a deleted job", "labels forged", "owner dropped", "of nobody"],
)
def test_a_child_is_that_of_its_owner_whatever_its_labels_say(owners: list[Any], labels: dict[str, str], ours: bool) -> None:
    assert belongs_to({"metadata": {"ownerReferences": owners, "labels": labels}}, job()) is ours


@pytest.mark.parametrize(
    ("name", "labels", "attempt"),
    [
        ("bot-12", {}, 12),
        ("bot-2", {"finetune.dev/attempt": "7"}, 2),
        ("bot-2x", {}, 0),
        ("robot-2", {}, 0),
        ("bot-0", {}, 0),
        ("left", {"finetune.dev/attempt": "1"}, 1),
    ],
    ids=["by its name", "not by a label", "no number", "another job", "no attempt", "by its label where the name is no sign"],
)
def test_the_attempt_of_a_ray_job_is_read_from_its_name(name: str, labels: dict[str, str], attempt: int) -> None:
    item = {
        "metadata": {
            "name": name,
            "uid": "x",
            "creationTimestamp": "2026-03-01T12:00:00Z",
            "labels": labels,
            "ownerReferences": [{"uid": UID}],
        }
    }
    assert ray_job_from(item, "bot").attempt == attempt
    assert is_ray_job_of(item, job()) is bool(attempt)


def test_members_of_a_status_that_cannot_be_read_are_left_out_but_never_the_attempts() -> None:
    good = {"number": 1, "rayJobName": "bot-1"}
    assert status_from({"attempts": [good], "metrics": 7, "novel": 1}).to_wire() == {"attempts": [good]}
    with pytest.raises(ValueError, match="attempts"):
        status_from({"attempts": [{"number": 0}]})


@pytest.mark.parametrize(("stored", "read"), [(False, "never"), (True, "always")])
def test_a_job_that_an_earlier_version_stored_is_still_understood(stored: bool, read: str) -> None:
    found = job_from({**resource(training={"epochs": 1, "gradientCheckpointing": stored}), "metadata": METADATA})
    assert found.spec is not None
    assert found.spec.training.gradient_checkpointing == read
