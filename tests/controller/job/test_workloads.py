"""What Kueue's Workload says of a RayJob; the objects are as Kueue 0.15 writes them."""

from typing import Any

import pytest

from controller.job.workloads import says_the_same, workload_from, workload_of
from controller.projections import kept_of_workload

PENDING = {
    "type": "QuotaReserved", "status": "False", "reason": "Pending",
    "message": "couldn't assign flavors to pod set workers: insufficient quota for cpu in flavor default",
}  # fmt: skip
RESERVED = {"type": "QuotaReserved", "status": "True", "reason": "QuotaReserved", "message": "Quota reserved in ClusterQueue gpus"}
ADMITTED = {"type": "Admitted", "status": "True", "reason": "Admitted", "message": "The workload is admitted"}
UNADMITTED = {"type": "Admitted", "status": "False", "reason": "NoReservation", "message": "The workload has no reservation"}
PREEMPTED = {"type": "Evicted", "status": "True", "reason": "Preempted", "message": "Preempted to accommodate a workload (UID: u)"}
WAS_EVICTED = {**PREEMPTED, "status": "False", "reason": "QuotaReserved", "message": "Previously: Preempted to accommodate a workload"}


def workload(*conditions: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """Return a Workload as the cache keeps it."""
    owner = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": "bot-1", "uid": "uid-of-bot-1", "controller": True}
    metadata = {"name": "rayjob-bot-1-0d9f1", "namespace": "team", "uid": "w", "resourceVersion": "3", "ownerReferences": [owner]}
    spec = {"queueName": "team-a", "active": True, "podSets": [{"name": "head"}], **parts.get("spec", {})}
    status = {"conditions": list(conditions), **parts.get("status", {})}
    return kept_of_workload({"metadata": metadata, "spec": spec, "status": status})


def test_before_kueue_has_looked_at_it_the_job_is_queued() -> None:
    facts = workload_from(workload())
    assert (facts.queue, facts.admitted, facts.evicted, facts.reason, facts.message) == ("team-a", False, False, "Queued", "")


def test_what_is_missing_is_told_in_kueues_words() -> None:
    facts = workload_from(workload(PENDING))
    assert (facts.reason, facts.admitted) == ("Pending", False)
    assert facts.message == PENDING["message"]


def test_an_admitted_one_waits_for_nothing() -> None:
    facts = workload_from(
        workload(RESERVED, ADMITTED, WAS_EVICTED, status={"admission": {"clusterQueue": "gpus", "podSetAssignments": []}})
    )
    assert (facts.admitted, facts.evicted, facts.cluster_queue) == (True, False, "gpus")


def test_admission_checks_are_named() -> None:
    checks = [{"name": "nodes", "state": "Pending", "message": "3 of 4"}, {"name": "budget", "state": "Ready", "message": "ok"}]
    facts = workload_from(workload(RESERVED, UNADMITTED, status={"admission": {"clusterQueue": "gpus"}, "admissionChecks": checks}))
    assert (facts.admitted, facts.reason) == (False, "AdmissionChecks")
    assert facts.message == "gpus has reserved the quota and waits for its admission checks: nodes (Pending) 3 of 4"


def test_an_evicted_one_says_what_for_and_what_it_waits_for() -> None:
    facts = workload_from(workload(PENDING, UNADMITTED, PREEMPTED))
    assert (facts.evicted, facts.admitted, facts.reason) == (True, False, "Preempted")
    assert facts.message == f"{PREEMPTED['message']}; {PENDING['message']}"


def test_one_that_is_evicted_before_its_admission_is_taken_back_is_not_admitted() -> None:
    assert not workload_from(workload(RESERVED, ADMITTED, PREEMPTED)).admitted


def test_a_deactivated_one_waits_for_somebody() -> None:
    facts = workload_from(workload(PENDING, spec={"active": False}))
    assert (facts.reason, facts.in_vain) == ("Deactivated", True)
    assert facts.message.startswith("the Workload is deactivated; set its spec.active to true")


@pytest.mark.parametrize(
    ("words", "evicted", "in_vain"),
    [
        ("LocalQueue nope doesn't exist", False, True),
        ("ClusterQueue gpus doesn't exist", False, True),
        ("LocalQueue team-a is terminating or missing", False, True),
        ("LocalQueue team-a doesn't exist", True, True),
        ("LocalQueue team-a is inactive", False, False),
        ("ClusterQueue gpus is stopped", False, False),
        ("ClusterQueue gpus is inactive", True, False),
    ],
)
def test_a_queue_that_is_not_there_admits_nobody_and_one_that_is_stopped_is_still_a_queue(words: str, evicted: bool, in_vain: bool) -> None:
    said = {"type": "QuotaReserved", "status": "False", "reason": "Inadmissible", "message": words}
    facts = workload_from(workload(said, *([PREEMPTED] if evicted else [])))
    assert (facts.in_vain, facts.evicted) == (in_vain, evicted)
    assert facts.reason == ("Preempted" if evicted and not in_vain else "Inadmissible")
    assert words in facts.message


@pytest.mark.parametrize("reason", ["", "no word", None, 7, "Ends_"], ids=["empty", "two words", "null", "a number", "ends badly"])
def test_a_reason_that_a_condition_cannot_have_is_replaced(reason: Any) -> None:
    assert workload_from(workload({**PENDING, "reason": reason})).reason in ("Queued", "Ends_")


def test_it_is_found_by_the_uid_of_its_ray_job() -> None:
    assert workload_of("uid-of-bot-1", [workload(PENDING)]) == workload_from(workload(PENDING))
    assert workload_of("uid-of-one-before", [workload(PENDING)]) is None


def made(name: str, seconds: int, message: str, owner: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    """Return a Workload that the cache keeps, created so many seconds after midnight."""
    owner = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": "bot-1", "uid": "uid-of-bot-1", "controller": True, **(owner or {})}
    times = {"creationTimestamp": f"2026-03-01T00:00:{seconds:02}Z", **metadata}
    names = {"name": name, "namespace": "team", "uid": name, "resourceVersion": "3"}
    return kept_of_workload(
        {"metadata": {**names, **times, "ownerReferences": [owner]}, "status": {"conditions": [{**PENDING, "message": message}]}}
    )


GOING = {"deletionTimestamp": "2026-03-01T00:01:00Z"}


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ([made("a", 1, "old"), made("b", 2, "new")], "new"),
        ([made("b", 1, "old"), made("a", 2, "new")], "new"),
        ([made("a", 1, "old"), made("b", 2, "goes", **GOING)], "old"),
        ([made("a", 1, "goes", **GOING)], "goes"),
        ([made("a", 1, "Kueue's"), made("b", 2, "forged", {"controller": False})], "Kueue's"),
        ([made("b", 2, "forged", {"controller": None})], None),
        ([made("b", 2, "forged", {"apiVersion": "v1"})], None),
    ],
    ids=["newest", "newest by time", "one goes", "the only one goes", "no controller", "no controller alone", "no RayJob"],
)
def test_of_several_the_newest_that_its_ray_job_controls_is_believed(items: list[dict[str, Any]], told: str | None) -> None:
    facts = workload_of("uid-of-bot-1", items)
    assert (facts.message if facts is not None else None) == told


def test_only_the_words_may_change_for_a_workload_to_say_the_same() -> None:
    said = workload(PENDING)
    assert says_the_same(said, workload({**PENDING, "message": "other words"}))
    for other in (workload({**PENDING, "reason": "Waiting"}), workload(RESERVED, ADMITTED), workload(PENDING, PREEMPTED), None):
        assert not says_the_same(said, other)
        assert not says_the_same(other, said)
    first, second = made("a", 1, "words"), made("a", 1, "words", {"uid": "of-another"})
    assert says_the_same(first, first)
    assert not says_the_same(first, second)
    assert not says_the_same(first, made("a", 1, "words", **GOING))


def test_of_the_workloads_of_other_kinds_nothing_is_kept() -> None:
    item = {
        "metadata": {"name": "job-x", "namespace": "team", "uid": "w", "resourceVersion": "3", "labels": {"a": "b"},
                     "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "x", "uid": "u"}]},
        "spec": {"queueName": "team-a"}, "status": {"conditions": [PENDING]},
    }  # fmt: skip
    assert kept_of_workload(item) == {"metadata": {"name": "job-x", "namespace": "team", "uid": "w", "resourceVersion": "3"}}
