"""What a job says nothing of it gets by the administrator's defaults, and its author sees what that is."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.job.defaults import defaulted, with_defaults
from controller.job.facts import Job
from controller.job.objects.rayjob import ray_job
from controller.job.trainconfig import train_config
from controller.jobdefaults import JobDefaults
from controller.kinds import FINE_TUNE_JOBS, PRIORITY_LABEL, QUEUE_LABEL, RAY_JOBS
from tests.builders import resource
from tests.controller.job.builders import Settings, job, unreadable
from tests.controller.job.world import World

TAINT = {"key": "training", "operator": "Exists", "effect": "NoSchedule"}
OTHER = {"key": "other", "value": "a", "effect": "NoExecute"}
DEFAULTS = JobDefaults.model_validate(
    {"priorityClassName": "batch", "nodeSelector": {"pool": "training"}, "tolerations": [TAINT], "queueName": "shared"}
)
ONE_NODE = {"models": ["ReadWriteOnce"]}
SEVERAL_NODES = {"models": ["ReadWriteMany"]}


def pods(of: Job, modes: dict[str, list[str]] = SEVERAL_NODES) -> dict[str, dict[str, Any]]:
    """Return the pods' specs of the job's RayJob, by role."""
    spec = ray_job(with_defaults(of, DEFAULTS), 1, Settings(), modes)["spec"]
    cluster = spec["rayClusterSpec"]
    templates = {
        "head": cluster["headGroupSpec"]["template"],
        "worker": cluster["workerGroupSpecs"][0]["template"],
        "submitter": spec["submitterPodTemplate"],
    }
    return {role: template["spec"] for role, template in templates.items()}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (None, ("batch", {"pool": "training"}, [TAINT])),
        ({"cpu": "2"}, ("batch", {"pool": "training"}, [TAINT])),
        ({"priorityClassName": "urgent"}, ("urgent", {"pool": "training"}, [TAINT])),
        ({"nodeSelector": {"zone": "a"}}, ("batch", {"zone": "a"}, [TAINT])),
        ({"tolerations": [OTHER]}, ("batch", {"pool": "training"}, [OTHER])),
        ({"nodeSelector": {}, "tolerations": []}, ("batch", None, None)),
    ],
    ids=["nothing", "only sizes", "priority", "nodes", "tolerations are not added up", "empty is none"],
)
def test_what_a_job_says_wins_and_the_rest_is_the_default(resources: dict[str, Any] | None, expected: tuple[Any, ...]) -> None:
    worker = pods(job(**({} if resources is None else {"resources": resources})))["worker"]
    assert (worker.get("priorityClassName"), worker.get("nodeSelector"), worker.get("tolerations")) == expected


def test_pods_get_defaults_as_they_get_what_a_job_says() -> None:
    said = {"priorityClassName": "batch", "nodeSelector": {"pool": "training"}, "tolerations": [TAINT]}
    for modes in (SEVERAL_NODES, ONE_NODE):
        assert pods(job(), modes) == pods(job(resources=said), modes)
    assert pods(job(), ONE_NODE)["head"]["tolerations"] == [TAINT]


def test_sizes_stay_as_the_job_says() -> None:
    built = with_defaults(job(resources={"cpu": "3", "memory": "7Gi", "gpus": 1}), DEFAULTS).valid_spec.resources
    assert built is not None
    assert (built.cpu, built.memory, built.gpus) == ("3", "7Gi", 1)


def test_the_trainer_is_told_nothing_of_them() -> None:
    """A configuration that somebody deletes is made again from the job alone, by a process that may have other settings."""
    assert train_config(with_defaults(job(), DEFAULTS), 1) == train_config(job(), 1)


@pytest.mark.parametrize(
    ("label", "expected"), [(None, "shared"), ("team-a", "team-a"), ("", None)], ids=["no label", "a queue of its own", "no queue"]
)
def test_a_job_is_in_the_default_queue_unless_its_label_says_otherwise(label: str | None, expected: str | None) -> None:
    item = ray_job(with_defaults(replace(job(), queue=label, priority_class="high"), DEFAULTS), 1, Settings(), {})
    labels = item["metadata"]["labels"]
    assert labels.get(QUEUE_LABEL) == expected
    assert labels.get(PRIORITY_LABEL) == (None if expected is None else "high")
    assert item["spec"].get("suspend", False) is (expected is not None)


def test_without_defaults_a_job_is_built_as_it_is() -> None:
    assert with_defaults(job(), JobDefaults()) == job()
    assert defaulted(job(), JobDefaults()) == []


def test_what_was_added_is_said_in_the_names_by_which_the_job_would_say_otherwise() -> None:
    many = JobDefaults.model_validate({"nodeSelector": {"zone": "a", "pool": "b"}, "tolerations": [TAINT, OTHER, {"operator": "Exists"}]})
    assert defaulted(job(), DEFAULTS) == [
        "resources.priorityClassName: batch",
        "resources.nodeSelector: pool=training",
        "resources.tolerations: training:NoSchedule",
        "metadata.labels[kueue.x-k8s.io/queue-name]: shared",
    ]
    assert defaulted(job(), many) == [
        "resources.nodeSelector: pool=b, zone=a",
        "resources.tolerations: training:NoSchedule, other=a:NoExecute, *",
    ]
    spoken = job(resources={"priorityClassName": "urgent", "nodeSelector": {}, "tolerations": []})
    assert defaulted(replace(spoken, queue=""), DEFAULTS) == []
    assert defaulted(unreadable(job()), DEFAULTS) == []


def test_what_is_said_of_many_tolerations_fits_into_the_status() -> None:
    long = JobDefaults.model_validate({"tolerations": [{"key": f"{'k' * 60}{number}"} for number in range(32)]})
    [words] = defaulted(job(), long)
    assert len(words) == 1024


async def test_an_attempt_has_the_defaults_of_its_time_and_the_job_stays_as_its_author_wrote_it() -> None:
    world = World()
    world.restart(Settings(defaults=JobDefaults(priority_class_name="batch")))
    await world.step()
    assert world.status["attempts"] == [{"number": 1, "rayJobName": "bot-1", "defaults": ["resources.priorityClassName: batch"]}]
    await world.step()
    assert priority_of(world, "bot-1") == "batch"

    # Another process has other settings: what runs keeps what it has, and the next attempt has the new ones.
    world.restart(Settings(defaults=JobDefaults(priority_class_name="low", node_selector={"pool": "b"})))
    await world.step()
    assert [attempt["defaults"] for attempt in world.status["attempts"]] == [["resources.priorityClassName: batch"]]
    [first] = world.api.objects(RAY_JOBS)
    world.api.put(RAY_JOBS, {**first, "status": {"jobStatus": "FAILED", "jobDeploymentStatus": "Failed", "reason": "AppFailed"}})
    await world.step()
    world.now += timedelta(minutes=1)
    for _ in range(3):
        await world.step()
    assert [attempt["defaults"] for attempt in world.status["attempts"]] == [
        ["resources.priorityClassName: batch"],
        ["resources.priorityClassName: low", "resources.nodeSelector: pool=b"],
    ]
    assert (priority_of(world, "bot-1"), priority_of(world, "bot-2")) == ("batch", "low")
    assert world.api.objects(FINE_TUNE_JOBS)[0]["spec"] == resource()["spec"]


def priority_of(world: World, name: str) -> str:
    [item] = [item for item in world.api.objects(RAY_JOBS) if item["metadata"]["name"] == name]
    return str(item["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["priorityClassName"])


@pytest.mark.parametrize(("labels", "queue"), [({}, "shared"), ({QUEUE_LABEL: ""}, None)], ids=["no label", "no value"])
async def test_a_label_without_a_value_keeps_a_job_out_of_the_default_queue(labels: dict[str, str], queue: str | None) -> None:
    world = World()
    world.restart(Settings(defaults=JobDefaults(queue_name="shared")))
    world.edit(FINE_TUNE_JOBS, "bot", labels=labels)
    for _ in range(2):
        await world.step()
    [item] = world.api.objects(RAY_JOBS)
    assert item["metadata"]["labels"].get(QUEUE_LABEL) == queue


async def test_a_default_is_not_judged_by_the_limits_as_what_a_job_asks_for_is() -> None:
    """Settings whose limits do not allow their defaults do not get this far; a job is never refused for what it did not say."""
    world = World()
    world.restart(Settings(defaults=JobDefaults(priority_class_name="batch"), allowed_priority_classes=()))
    for _ in range(2):
        await world.step()
    assert world.condition("Accepted")["status"] == "True"
    assert priority_of(world, "bot-1") == "batch"
