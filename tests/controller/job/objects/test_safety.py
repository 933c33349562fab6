"""What must be stored of a RayJob as it was sent."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from controller.job.objects.rayjob import ray_job
from controller.job.objects.safety import fields_lost, fields_refused, fields_unsafe, words
from tests.controller.job.builders import Settings, job

SENT = ray_job(job(), 1, Settings(), {})
CLUSTER = "spec.rayClusterSpec"


def cluster(item: dict[str, Any]) -> dict[str, Any]:
    return item["spec"]["rayClusterSpec"]


def head(item: dict[str, Any]) -> dict[str, Any]:
    return cluster(item)["headGroupSpec"]["template"]["spec"]


def worker(item: dict[str, Any]) -> dict[str, Any]:
    return cluster(item)["workerGroupSpecs"][0]["template"]["spec"]


def kueue_admits(item: dict[str, Any]) -> None:
    """Change a RayJob as Kueue does when it admits one, and the API server when it fills in defaults."""
    item["metadata"]["labels"] |= {"kueue.x-k8s.io/queue-name": "team-a"}
    item["spec"].pop("suspend", None)
    for template in (head(item), worker(item)):
        template.update(nodeSelector={"pool": "a"}, dnsPolicy="ClusterFirst", schedulerName="default-scheduler")
        template["containers"][0].update(terminationMessagePath="/dev/termination-log")
        template["securityContext"].update(supplementalGroupsPolicy="Merge")
    cluster(item)["workerGroupSpecs"][0]["template"]["metadata"]["labels"]["kueue.x-k8s.io/podset"] = "workers"
    cluster(item)["workerGroupSpecs"][0]["numOfHosts"] = 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda item: cluster(item).pop("authOptions"), f"{CLUSTER}.authOptions"),
        (lambda item: cluster(item).update(authOptions={}), f"{CLUSTER}.authOptions"),
        (lambda item: cluster(item).update(authOptions={"mode": "disabled"}), f"{CLUSTER}.authOptions"),
        (lambda item: cluster(item).update(enableInTreeAutoscaling=True), f"{CLUSTER}.enableInTreeAutoscaling"),
        (lambda item: item["spec"].update(shutdownAfterJobFinishes=False), "spec.shutdownAfterJobFinishes"),
        (lambda item: item["spec"].pop("backoffLimit"), "spec.backoffLimit"),
        (lambda item: item["spec"].update(backoffLimit=3), "spec.backoffLimit"),
        (lambda item: item["spec"].update(submissionMode="HTTPMode"), "spec.submissionMode"),
        (lambda item: item["spec"].update(entrypoint="sh"), "spec.entrypoint"),
        (lambda item: head(item).pop("securityContext"), f"{CLUSTER}.headGroupSpec.template.spec.securityContext"),
        (lambda item: head(item).update(serviceAccountName="default"), f"{CLUSTER}.headGroupSpec.template.spec.serviceAccountName"),
        (
            lambda item: worker(item).update(automountServiceAccountToken=True),
            f"{CLUSTER}.workerGroupSpecs[0].template.spec.automountServiceAccountToken",
        ),
        (
            lambda item: worker(item)["containers"][0]["securityContext"].update(allowPrivilegeEscalation=True),
            f"{CLUSTER}.workerGroupSpecs[0].template.spec.containers[0].securityContext",
        ),
        (
            lambda item: item["spec"]["submitterPodTemplate"]["spec"].pop("automountServiceAccountToken"),
            "spec.submitterPodTemplate.spec.automountServiceAccountToken",
        ),
    ],
)
def test_a_lost_field_that_safety_depends_on_is_reported_by_its_path(change: Callable[[Any], Any], field: str) -> None:
    stored = copy.deepcopy(SENT)
    change(stored)
    assert fields_lost(SENT, stored) == [field]
    assert fields_unsafe(stored) == [field]
    assert field in words([field])


@pytest.mark.parametrize(
    "change",
    [
        lambda item: None,
        lambda item: item["spec"].update(suspend=True, activeDeadlineSeconds=9),
        kueue_admits,
        lambda item: worker(item).update(tolerations=[{"operator": "Exists"}], nodeSelector={"pool": "a"}),
        lambda item: worker(item)["containers"].insert(0, {"name": "mesh", "image": "sidecar"}),
        lambda item: worker(item)["containers"][0].update(image="mirror/trainer"),
        lambda item: head(item)["securityContext"].update(supplementalGroups=[7]),
    ],
    ids=["nothing", "a queue", "Kueue", "placement", "a sidecar", "a mirror", "more security"],
)
def test_what_the_server_a_queue_or_a_policy_adds_is_no_loss(change: Callable[[Any], Any]) -> None:
    stored = copy.deepcopy(SENT)
    change(stored)
    assert fields_lost(SENT, stored) == []
    assert fields_unsafe(stored) == []


@pytest.mark.parametrize("stored", [{}, {"spec": None}, {"spec": {"rayClusterSpec": {"workerGroupSpecs": []}}}])
def test_an_answer_without_sense_keeps_nothing(stored: dict[str, Any]) -> None:
    assert f"{CLUSTER}.authOptions" in fields_lost(SENT, stored)


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ('strict decoding error: unknown field "spec.b", unknown field "spec.a", unknown field "spec.a"', ["spec.a", "spec.b"]),
        ('admission webhook says: unknown field "spec.a"', []),
        ("exceeded quota", []),
    ],
    ids=["strict", "somebody else's words", "a quota"],
)
def test_the_fields_that_a_strict_server_refuses_are_read_from_its_message(message: str, fields: list[str]) -> None:
    assert fields_refused(message) == fields
