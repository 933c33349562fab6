"""A pod that failed and was deleted before its job was looked at is what the attempt died of all the same."""

from typing import Any

import pytest

from controller.fallen import JOBS_MOST, PER_JOB_MOST, Fallen
from controller.job.names import labels
from controller.job.parsing import pod_from
from controller.kinds import FINE_TUNE_JOBS, JOB_LABEL
from controller.runtime.resources import PODS, KubeObject
from controller.runtime.store import Change
from tests.controller.cluster import Cluster, play
from tests.controller.test_watching import Watching
from tests.fakes import FakeApi

KEY = "team-a/bot"
OOM_KILLED = {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}


def pod(name: str = "w", uid: str = "1", attempt: int = 1, role: str = "worker", status: Any = OOM_KILLED) -> KubeObject:
    labels = {JOB_LABEL: "bot", "finetune.dev/attempt": str(attempt), "finetune.dev/role": role}
    return {"metadata": {"name": name, "namespace": "team-a", "uid": uid, "labels": labels}, "status": status}


def went(*pods: KubeObject) -> Fallen:
    fallen = Fallen()
    for each in pods:
        fallen.take(Change("team-a/w", each, None), [KEY])
    return fallen


def names(fallen: Fallen) -> list[str]:
    return [each["metadata"]["name"] for each in fallen.of(KEY)]


async def test_a_pod_that_fails_and_is_deleted_at_once_is_kept_for_its_job() -> None:
    api = FakeApi()
    watching = Watching(api)
    with watching.running():
        await watching.settle()
        for status in ({"phase": "Running"}, OOM_KILLED):
            api.put(PODS, pod(status=status))
        await watching.settle()
        assert names(watching.stores.fallen) == []
        api.remove(PODS, "team-a", "w")
        await watching.settle()
    assert names(watching.stores.fallen) == ["w"]
    assert pod_from(watching.stores.fallen.of(KEY)[0]).reasons == ("OOMKilled",)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (Change("team-a/w", pod(), None), ["w"]),
        (Change("team-a/w", pod(), pod(uid="2", status={})), ["w"]),
        (Change("team-a/w", pod(), pod()), []),
        (Change("team-a/w", None, pod()), []),
        (Change("team-a/w", pod(status={"phase": "Running"}), None), []),
        (Change("team-a/w", pod(role="submitter"), None), []),
    ],
    ids=["gone", "replaced under its name", "still there", "new", "did not fail", "the submitter"],
)
def test_what_is_kept_has_failed_and_is_gone(change: Change, kept: list[str]) -> None:
    fallen = Fallen()
    fallen.take(change, [KEY])
    assert names(fallen) == kept


def test_only_what_a_pass_has_seen_is_forgotten() -> None:
    fallen = went(pod("w1"), pod("w2"))
    fallen.forget(KEY, [pod_from(pod("w1"))])
    assert names(fallen) == ["w2"]
    fallen.forget(KEY, [])
    assert names(fallen) == ["w2"]
    fallen.forget(KEY)
    assert len(fallen) == 0


def test_the_first_of_the_newest_attempt_are_kept_and_no_more_than_so_many_jobs() -> None:
    fallen = went(pod("old"), *(pod(f"w{number}", attempt=2) for number in range(9)), pod("late", attempt=1))
    assert names(fallen) == [f"w{number}" for number in range(PER_JOB_MOST)]
    for number in range(2 * JOBS_MOST):
        fallen.take(Change("team-a/w", pod(), None), [f"team-a/job-{number}"])
    assert len(fallen) == JOBS_MOST
    assert names(fallen) == []


def test_a_pod_that_was_there_for_a_moment_only_is_in_the_status() -> None:
    async def act(cluster: Cluster) -> None:
        cluster.job("bot")
        await cluster.until(lambda: "bot" in cluster.started())
        await cluster.until(lambda: "startTime" in attempt_of(cluster))
        [found] = cluster.api.objects(FINE_TUNE_JOBS)
        killed = pod("bot-1-worker")
        killed["metadata"]["labels"] |= labels("bot", found["metadata"]["uid"], 1, "worker")
        cluster.api.put(PODS, killed)
        cluster.api.remove(PODS, "team-a", "bot-1-worker")
        await cluster.until(lambda: "failedPod" in attempt_of(cluster), seconds=5)
        assert attempt_of(cluster)["failedPod"] == {"name": "bot-1-worker", "reason": "OOMKilled", "exitCode": 137}
        assert len(cluster.controller.stores.fallen) == 0

    play(act)


def attempt_of(cluster: Cluster) -> KubeObject:
    [found] = cluster.api.objects(FINE_TUNE_JOBS)
    return dict(found["status"]["attempts"][0])
