"""Which pods of an attempt must share a node."""

from typing import Any

import pytest

from controller.job.names import labels
from controller.job.objects.placement import access_modes, head_affinity, needs_one_node, worker_affinity
from tests.controller.job.builders import UID, job

READS = {"data": {"train": [{"persistentVolumeClaim": {"claimName": "sets", "path": "a.jsonl"}}]}}
MANY = ["ReadWriteMany"]


@pytest.mark.parametrize(
    ("sections", "modes", "one_node"),
    [
        ({}, {"models": ["ReadWriteOnce"]}, True),
        ({}, {"models": MANY}, False),
        ({}, {"models": ["ReadWriteOnce", "ReadWriteMany"]}, False),
        ({}, {"models": ["ReadOnlyMany"]}, True),
        ({}, {}, True),
        (READS, {"models": MANY, "sets": ["ReadWriteOnce"]}, True),
        (READS, {"models": MANY, "sets": ["ReadOnlyMany"]}, False),
        (READS, {"models": MANY, "sets": MANY}, False),
    ],
    ids=["one node", "many", "both", "written, but read-only", "unknown", "a source on one node", "a source to read", "all many"],
)
def test_one_claim_that_a_single_node_can_mount_is_enough(sections: dict[str, Any], modes: dict[str, list[str]], one_node: bool) -> None:
    assert needs_one_node(job(**sections), modes) is one_node


@pytest.mark.parametrize(
    ("claim", "modes"),
    [
        ({"spec": {"accessModes": ["ReadWriteOnce"]}}, ["ReadWriteOnce"]),
        ({"spec": {"accessModes": ["ReadWriteOnce"]}, "status": {"accessModes": MANY}}, MANY),
        ({"metadata": {}}, []),
    ],
    ids=["not bound", "bound to a volume that can do more", "unknown"],
)
def test_a_volumes_own_access_modes_count_once_there_is_one(claim: dict[str, Any], modes: list[str]) -> None:
    assert access_modes(claim) == modes


def selects(affinity: dict[str, Any], of: dict[str, str]) -> bool:
    """Whether, as the scheduler sees it, the affinity is for a pod with these labels."""
    [term] = affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    [expression] = term["labelSelector"]["matchExpressions"]
    return term["labelSelector"]["matchLabels"].items() <= of.items() and of[expression["key"]] in expression["values"]


def test_workers_find_the_node_the_head_follows_and_the_submitter_draws_nobody() -> None:
    pods = {role: labels("bot", UID, 2, role) for role in ("head", "worker", "submitter")}
    assert [role for role in pods if selects(worker_affinity(job(), 2), pods[role])] == ["head", "worker"]
    assert [role for role in pods if selects(head_affinity(job(), 2), pods[role])] == ["worker"]


@pytest.mark.parametrize("other", [labels("bot", UID, 1, "worker"), labels("bot", "of-another", 2, "worker")], ids=["attempt", "job"])
def test_pods_of_others_draw_nobody(other: dict[str, str]) -> None:
    assert not selects(worker_affinity(job(), 2), other)
