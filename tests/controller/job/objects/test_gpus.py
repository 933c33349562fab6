"""How a worker gets its GPUs."""

from typing import Any

import pytest

from controller.job.objects.pods import head_template, submitter_template, worker_template
from controller.job.objects.rayjob import ray_job
from tests.controller.job.builders import Settings, job

CLAIMED = Settings(gpu_claim_template="gpus-{gpus}")


def gpu_job(gpus: int) -> Any:
    return job(resources={"gpus": gpus}, training={"epochs": 1, "globalBatchSize": 8})


def test_a_worker_claims_its_gpus_and_asks_for_them_by_no_other_name() -> None:
    spec = worker_template(gpu_job(4), 1, CLAIMED)["spec"]
    assert spec["resourceClaims"] == [{"name": "gpus", "resourceClaimTemplateName": "gpus-4"}]
    sizes = spec["containers"][0]["resources"]
    assert sizes["claims"] == [{"name": "gpus"}]
    assert (set(sizes["requests"]), set(sizes["limits"])) == ({"cpu", "memory"}, {"memory"})
    assert {"name": "NCCL_DEBUG", "value": "WARN"} in spec["containers"][0]["env"]


@pytest.mark.parametrize(
    ("setting", "name"), [("gpus", "gpus"), ("{gpus}-of-h100", "2-of-h100"), ("a.b{gpus}", "a.b2")], ids=["one for all", "first", "last"]
)
def test_the_number_of_gpus_may_be_in_the_name_of_the_template(setting: str, name: str) -> None:
    [claim] = worker_template(gpu_job(2), 1, Settings(gpu_claim_template=setting))["spec"]["resourceClaims"]
    assert claim["resourceClaimTemplateName"] == name


def test_only_workers_claim_and_only_for_a_job_with_gpus() -> None:
    pods = [head_template(gpu_job(4), 1, CLAIMED), submitter_template(gpu_job(4), 1, CLAIMED), worker_template(gpu_job(0), 1, CLAIMED)]
    for pod in pods:
        assert "resourceClaims" not in pod["spec"]
        assert "claims" not in pod["spec"]["containers"][0]["resources"]


def test_ray_is_told_of_gpus_that_no_limit_shows() -> None:
    [group] = ray_job(gpu_job(4), 1, CLAIMED, {})["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["rayStartParams"]["num-gpus"] == "4"
