"""What a job gets by the administrator's defaults, on the real API server with the real KubeRay operator."""

import contextlib

import pytest

from controller.jobdefaults import JobDefaults
from controller.kinds import FINE_TUNE_JOBS, QUEUE_LABEL, RAY_JOBS
from controller.runtime.errors import AlreadyExists
from controller.runtime.resources import PODS, Resource
from tests.builders import resource
from tests.controller.job.builders import Settings
from tests.integration.jobs import Operator
from tests.integration.test_job_lifecycle import operator, started

__all__ = ["operator"]

pytestmark = pytest.mark.integration

PRIORITIES = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False)
TAINT = {"key": "training", "operator": "Exists", "effect": "NoSchedule"}


def with_defaults(operator: Operator, **defaults: object) -> None:
    operator.settings = Settings(defaults=JobDefaults.model_validate(defaults))


async def priorities(operator: Operator, **values: int) -> None:
    for name, value in values.items():
        with contextlib.suppress(AlreadyExists):
            await operator.client.create(PRIORITIES, {"metadata": {"name": name}, "value": value})


async def test_pods_of_a_job_that_says_nothing_have_the_defaults_and_those_of_one_that_does_have_its_own(operator: Operator) -> None:
    await priorities(operator, batch=100, urgent=1000)
    with_defaults(operator, priorityClassName="batch", nodeSelector={"example.com/pool": "training"}, tolerations=[TAINT])
    plain = await operator.create(resource("plain"))
    own = {"priorityClassName": "urgent", "nodeSelector": {}, "tolerations": [{"key": "mine", "operator": "Exists"}]}
    await operator.create(resource("own", resources=own))
    for name, priority, selector, taint in (("plain", 100, {"example.com/pool": "training"}, "training"), ("own", 1000, None, "mine")):
        ray_job = await started(operator, name)
        selected = f"ray.io/cluster={ray_job['status']['rayClusterName']}"
        found = (await operator.client.list_all(PODS, operator.namespace, label_selector=selected)).items
        assert {pod["spec"]["priority"] for pod in found} == {priority}, name
        [worker] = [pod["spec"] for pod in found if pod["metadata"]["labels"]["ray.io/node-type"] == "worker"]
        assert worker.get("nodeSelector") == selector, name
        assert taint in [toleration["key"] for toleration in worker["tolerations"]], name
        assert ("training" in [toleration["key"] for toleration in worker["tolerations"]]) is (name == "plain")

    assert (await operator.job("plain"))["spec"] == plain["spec"]
    [attempt] = (await operator.status("plain"))["attempts"]
    assert attempt["defaults"] == [
        "resources.priorityClassName: batch", "resources.nodeSelector: example.com/pool=training",
        "resources.tolerations: training:NoSchedule",
    ]  # fmt: skip
    [attempt] = (await operator.status("own"))["attempts"]
    assert "defaults" not in attempt


async def test_a_job_that_is_in_a_queue_by_default_is_taken_out_of_it_by_a_label_without_a_value(operator: Operator) -> None:
    with_defaults(operator, queueName="shared")
    await operator.create(resource())
    await operator.run_until(lambda: operator.has_condition("bot", "Queued", "False", "KueueMissing"), "in the default queue")
    said = (await operator.condition("bot", "Queued"))["message"]
    assert "is suspended for the queue shared" in said
    assert f"set the label {QUEUE_LABEL} of the job to the empty text" in said
    ray_job = await operator.client.get(RAY_JOBS, "bot-1", operator.namespace)
    assert (ray_job["metadata"]["labels"][QUEUE_LABEL], ray_job["spec"]["suspend"]) == ("shared", True)

    await operator.client.patch(FINE_TUNE_JOBS, "bot", operator.namespace, {"metadata": {"labels": {QUEUE_LABEL: ""}}})
    await operator.set_suspend("bot", True)
    await operator.run_until(lambda: operator.has_condition("bot", "Suspended", "True"), "suspended")
    await operator.set_suspend("bot", False)
    ray_job = await started(operator, attempt=2)
    assert not ray_job["spec"].get("suspend")
    first, second = (await operator.status("bot"))["attempts"]
    assert first["defaults"] == [f"metadata.labels[{QUEUE_LABEL}]: shared"]
    assert "defaults" not in second
