"""The controller has a row for every word of the KubeRay that is pinned, read from its own source: a release with a new one fails here."""

import re
from pathlib import Path
from typing import Any

import pytest

from controller.job.facts import RayJobFacts
from controller.job.failures import BY_DEPLOYMENT_STATUS, WHEN_COMPLETE, WHILE_RUNNING, ending_of
from controller.job.objects.rayjob import ray_job
from controller.job.rayclusters import BY_CONDITION, BY_STATE, PODS_REFUSED, trouble_in
from controller.projections import RAY_JOB_STATUS
from finetune.api.status import AttemptOutcome
from tests.cluster.binaries import kuberay_source
from tests.cluster.kuberay import rayjob_definition
from tests.controller.job import builders

pytestmark = pytest.mark.integration

CONSTANT = re.compile(r'^\s*\w+\s+(?P<type>\w+)\s*=\s*"(?P<value>[^"]*)"', re.MULTILINE)
KNOWN_REASONS = {
    "SubmissionFailed", "DeadlineExceeded", "PreRunningDeadlineExceeded", "AppFailed", "JobDeploymentStatusTransitionGracePeriodExceeded",
    "ValidationFailed",
}  # fmt: skip
"""Of a RayJob. A new one does no harm, but wants to be looked at: should it be retried?"""
REPLICA_FAILURES = {"FailedDeleteAllPods", "FailedDeleteHeadPod", "FailedCreateHeadPod", "FailedDeleteWorkerPod", "FailedCreateWorkerPod"}


@pytest.fixture(scope="module")
def source() -> Path:
    return kuberay_source()


@pytest.fixture(scope="module")
def constants(source: Path) -> dict[str, set[str]]:
    """The values of KubeRay's string types, by the type's name."""
    found: dict[str, set[str]] = {}
    for path in (source / "apis/ray/v1").glob("*_types.go"):
        for match in CONSTANT.finditer(path.read_text()):
            found.setdefault(match["type"], set()).add(match["value"])
    return found


def test_every_status_of_a_ray_job_has_a_row(constants: dict[str, set[str]]) -> None:
    assert set(BY_DEPLOYMENT_STATUS) == constants["JobDeploymentStatus"]
    assert set(WHILE_RUNNING) == set(WHEN_COMPLETE) == constants["JobStatus"]


def test_every_state_and_condition_of_a_ray_cluster_has_a_row(constants: dict[str, set[str]]) -> None:
    assert set(BY_STATE) == constants["ClusterState"] | {""}
    assert set(BY_CONDITION) == constants["RayClusterConditionType"]


def test_every_reason_of_a_ray_job_is_one_that_was_looked_at_and_ends_the_attempt(constants: dict[str, set[str]]) -> None:
    assert constants["JobFailedReason"] == KNOWN_REASONS
    for reason in sorted(KNOWN_REASONS):
        status = "ValidationFailed" if reason == "ValidationFailed" else "Failed"
        ending = ending_of(builders.ray_job(1, "", status, reason=reason, message="KubeRay's words", cluster=""), None, ())
        assert (ending.outcome, ending.retry) == (AttemptOutcome.FAILED, reason != "ValidationFailed")
        assert ending.reason == {"AppFailed": "TrainerFailed", "ValidationFailed": "RayJobInvalid"}.get(reason, reason)
        assert "KubeRay's words" in ending.message


def test_every_reason_why_pods_are_missing_is_told(source: Path) -> None:
    text = (source / "controllers/ray/utils/constant.go").read_text()
    reasons = set(re.findall(r'&errRayClusterReplicaFailure\{reason: "(\w+)"\}', text))
    assert reasons == REPLICA_FAILURES
    for reason in reasons:
        condition = {"type": "ReplicaFailure", "status": "True", "reason": reason, "message": "why"}
        assert trouble_in({"conditions": [condition]}) == f"{PODS_REFUSED}: {reason}: why"


@pytest.fixture(scope="module")
def definition() -> dict[str, Any]:
    """The schema of a RayJob."""
    [version] = [each for each in rayjob_definition()["spec"]["versions"] if each["name"] == "v1"]
    return dict(version["schema"]["openAPIV3Schema"]["properties"])


def test_the_definition_has_every_member_of_the_status_that_is_read(definition: dict[str, Any]) -> None:
    status = definition["status"]
    assert {*RAY_JOB_STATUS, "rayClusterStatus"} <= set(status["properties"])
    assert {"state", "reason", "conditions"} <= set(status["properties"]["rayClusterStatus"]["properties"])
    assert not [name for name in ("jobStatus", "jobDeploymentStatus") if "enum" in status["properties"][name]]


def fields_missing(schema: object, item: object, path: str) -> list[str]:
    """Return the paths of the fields of an object that its schema does not have."""
    if not isinstance(schema, dict):
        return []
    if isinstance(item, list):
        return [found for each in item for found in fields_missing(schema.get("items"), each, path)]
    if not isinstance(item, dict) or "properties" not in schema:
        return []
    found = []
    for name, value in item.items():
        inner = schema["properties"].get(name)
        found += [f"{path}.{name}"] if inner is None else fields_missing(inner, value, f"{path}.{name}")
    return found


def test_the_definition_has_every_field_that_is_set(definition: dict[str, Any]) -> None:
    spec = ray_job(builders.job(), 1, builders.Settings(), {})["spec"]
    assert fields_missing(definition["spec"], spec, "spec") == []
    assert fields_missing(definition["spec"], {**spec, "authOption": {}}, "spec") == ["spec.authOption"]


def test_a_ray_job_without_a_status_is_one_that_kuberay_has_not_taken_up() -> None:
    assert RayJobFacts(name="bot-1", uid="u", attempt=1, created=builders.NOW).deployment_status in BY_DEPLOYMENT_STATUS
