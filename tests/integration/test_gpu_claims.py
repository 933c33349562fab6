"""GPUs by Dynamic Resource Allocation, on the real API server, with the real KubeRay operator and scheduler; devices are objects only."""

import copy
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from controller.job.trouble import PREPARING_PATIENCE
from controller.runtime.resources import PODS, RESOURCE_CLAIM_TEMPLATES, RESOURCE_QUOTAS, Resource
from tests.builders import resource
from tests.cluster.controlplane import ControlPlane
from tests.cluster.fakes import fake_node, remove_fake_node
from tests.controller.job.builders import Settings
from tests.integration.jobs import Operator
from tests.integration.test_job_lifecycle import operator, started
from tests.repository import REPOSITORY

__all__ = ["operator"]

pytestmark = pytest.mark.integration

[TEMPLATE] = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "docs" / "gpus.md").read_text(), re.DOTALL)]
CLASS = "gpu.nvidia.com"
GROUP = "/apis/resource.k8s.io/v1"
CLAIMS = Resource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim")
GPUS = {"cpu": "4", "memory": "32Gi", "gpus": 2}


@pytest.fixture
async def claiming(operator: Operator) -> Operator:
    operator.settings = Settings(gpu_claim_template="gpus-{gpus}")
    return operator


@pytest.fixture
def node(control_plane: ControlPlane) -> Iterator[str]:
    """A node with four GPUs of a driver that has the node's name, for which there is no device class, and the scheduler."""
    name = f"gpu-{uuid.uuid4().hex[:6]}"
    fake_node(control_plane.api, name, {})
    pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
    devices = [{"name": f"gpu-{index}"} for index in range(4)]
    driver = {"driver": name, "pool": pool, "nodeName": name, "devices": devices}
    control_plane.api.request("POST", f"{GROUP}/resourceslices", {"metadata": {"name": name}, "spec": driver})
    control_plane.start_scheduler()
    yield name
    control_plane.stop_scheduler()
    control_plane.api.request("DELETE", f"{GROUP}/resourceslices/{name}")
    remove_fake_node(control_plane.api, name)


@pytest.fixture
def device_class(control_plane: ControlPlane, node: str) -> Iterator[Callable[[], None]]:
    """Creates the class of these GPUs, of the same name, when it is called: pods of other tests have none of them."""
    classes = f"{GROUP}/deviceclasses"

    def make() -> None:
        spec = {"selectors": [{"cel": {"expression": f"device.driver == '{node}'"}}]}
        control_plane.api.request("POST", classes, {"metadata": {"name": node}, "spec": spec})

    yield make
    if control_plane.api.exists(f"{classes}/{node}"):
        control_plane.api.request("DELETE", f"{classes}/{node}")


async def workers(operator: Operator) -> list[dict[str, Any]]:
    return (await operator.client.list_all(PODS, operator.namespace, label_selector="finetune.dev/role=worker")).items


async def put_template(operator: Operator, device_class: str | None = None) -> None:
    """Create the template of docs/gpus.md, for devices of another class if one is given."""
    template = copy.deepcopy(TEMPLATE)
    template["metadata"]["namespace"] = operator.namespace
    if device_class:
        template["spec"]["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"] = device_class
    await operator.client.create(RESOURCE_CLAIM_TEMPLATES, template)


async def test_a_job_waits_for_its_template_and_the_pods_that_kuberay_creates_claim_their_gpus(claiming: Operator) -> None:
    await claiming.create(resource(resources=GPUS, distributed={"workers": 2}))
    await claiming.pass_once()
    accepted = await claiming.condition("bot", "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "ReferenceMissing")
    assert f"there is no ResourceClaimTemplate gpus-2 in namespace {claiming.namespace}" in accepted["message"]

    await put_template(claiming)
    await started(claiming)

    async def both() -> list[dict[str, Any]] | None:
        pods = await workers(claiming)
        return pods if len(pods) == 2 else None

    for pod in await claiming.run_until(both, "two workers"):
        assert pod["spec"]["resourceClaims"] == [{"name": "gpus", "resourceClaimTemplateName": "gpus-2"}]
        container = pod["spec"]["containers"][0]
        assert container["resources"]["claims"] == [{"name": "gpus"}]
        assert container["resources"]["limits"] == {"memory": "32Gi"}
        assert "--num-gpus=2" in container["args"][0]
        assert not [each for each in pod["spec"].get("initContainers") or [] if "claims" in each.get("resources", {})]
    [head] = (await claiming.client.list_all(PODS, claiming.namespace, label_selector="finetune.dev/role=head")).items
    assert "resourceClaims" not in head["spec"]


async def test_a_template_for_another_number_starts_nothing(claiming: Operator) -> None:
    claiming.settings = Settings(gpu_claim_template="gpus-2")
    await put_template(claiming)
    await claiming.create(resource(resources={**GPUS, "gpus": 4}))
    await claiming.pass_once()
    accepted = await claiming.condition("bot", "Accepted")
    assert f"ResourceClaimTemplate gpus-2 in namespace {claiming.namespace} is for 2; ask for 2" in accepted["message"]


async def test_the_scheduler_gives_each_worker_its_gpus_and_says_what_it_lacks(
    claiming: Operator, node: str, device_class: Callable[[], None]
) -> None:
    await put_template(claiming, node)
    await claiming.create(resource(resources=GPUS, distributed={"workers": 2}))

    async def says(words: str) -> bool:
        return words in (await claiming.condition("bot", "Running")).get("message", "")

    await claiming.run_until(lambda: says(f"device class {node} does not exist"), "told of the device class")
    device_class()

    async def placed() -> bool:
        return [pod["spec"].get("nodeName") for pod in await workers(claiming)] == [node, node]

    await claiming.run_until(placed, "placed", seconds=90)
    claims = (await claiming.client.list_all(CLAIMS, claiming.namespace)).items
    given = [each["device"] for claim in claims for each in claim["status"]["allocation"]["devices"]["results"]]
    assert sorted(given) == ["gpu-0", "gpu-1", "gpu-2", "gpu-3"]
    assert {reference["name"] for claim in claims for reference in claim["metadata"]["ownerReferences"]} == {
        pod["metadata"]["name"] for pod in await workers(claiming)
    }


async def test_a_claim_that_cannot_be_made_is_said_by_the_name_of_its_pod(claiming: Operator, node: str) -> None:
    await put_template(claiming)
    none = {"hard": {f"{CLASS}.deviceclass.resource.k8s.io/devices": "0"}}
    await claiming.client.create(RESOURCE_QUOTAS, {"metadata": {"name": "none", "namespace": claiming.namespace}, "spec": none})
    await claiming.create(resource(resources=GPUS))
    await started(claiming)
    [pod] = await workers(claiming)
    claiming.ahead = PREPARING_PATIENCE

    async def named() -> bool:
        message = (await claiming.condition("bot", "Running")).get("message", "")
        return f"pod {pod['metadata']['name']} has been waiting for its ResourceClaim since" in message

    await claiming.run_until(named, "named")
    assert (await claiming.client.list_all(CLAIMS, claiming.namespace)).items == []
