"""The RayJob of an attempt."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.job.objects.rayjob import ray_job
from controller.job.objects.safety import fields_unsafe
from controller.kinds import PRIORITY_LABEL, QUEUE_LABEL
from tests.controller.job.builders import Settings, job


def spec_of(**sections: Any) -> dict[str, Any]:
    return dict(ray_job(job(**sections), 2, Settings(), {})["spec"])


def test_kuberay_neither_retries_nor_scales_nor_keeps_the_cluster() -> None:
    spec = spec_of()
    cluster = spec["rayClusterSpec"]
    assert (spec["backoffLimit"], spec["shutdownAfterJobFinishes"], spec["submissionMode"]) == (0, True, "K8sJobMode")
    assert 0 < spec["ttlSecondsAfterFinished"] <= 30
    assert cluster["enableInTreeAutoscaling"] is False
    assert (cluster["authOptions"], cluster["rayVersion"]) == ({"mode": "token"}, "2.60.0")


def test_the_entrypoint_is_a_constant_whatever_the_job_holds() -> None:
    nasty = spec_of(model={"name": "org/model"}, output={"persistentVolumeClaim": {"claimName": "models", "path": "$(reboot); `id`"}})
    assert nasty["entrypoint"] == "python -m trainer --config /etc/finetune/config.json"
    assert "reboot" not in str(nasty)


def test_a_head_that_died_is_not_replaced() -> None:
    item = ray_job(job(), 1, Settings(), {})
    assert item["metadata"]["annotations"] == {"ray.io/disable-provisioned-head-restart": "true"}
    assert item["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_the_head_offers_no_cpu_and_workers_offer_what_they_request() -> None:
    cluster = spec_of(resources={"cpu": "1500m"}, distributed={"workers": 4})["rayClusterSpec"]
    group = cluster["workerGroupSpecs"][0]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert group["rayStartParams"]["num-cpus"] == "2"
    assert [group[name] for name in ("replicas", "minReplicas", "maxReplicas")] == [4, 4, 4]


def test_ray_is_told_of_gpus_whatever_their_resource_is_called() -> None:
    groups = [
        ray_job(job(resources={"gpus": gpus}, training={"epochs": 1, "globalBatchSize": 8}), 1, Settings(gpu_resource=name), {})
        for gpus, name in ((4, "gpu.intel.com/i915"), (0, "gpu.intel.com/i915"))
    ]
    started = [each["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["rayStartParams"].get("num-gpus") for each in groups]
    assert started == ["4", None]


@pytest.mark.parametrize(
    ("memory", "bytes_"), [("100Mi", 80 * 2**20), ("4Gi", 2**30), ("512Gi", 2 * 2**30)], ids=["smallest", "a quarter", "largest"]
)
def test_the_object_store_is_small(memory: str, bytes_: int) -> None:
    group = spec_of(resources={"memory": memory})["rayClusterSpec"]["workerGroupSpecs"][0]
    assert group["rayStartParams"]["object-store-memory"] == str(bytes_)


def test_metrics_are_served_where_they_are_announced() -> None:
    cluster = spec_of()["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], cluster["workerGroupSpecs"][0]):
        ports = group["template"]["spec"]["containers"][0]["ports"]
        assert {"name": "metrics", "containerPort": int(group["rayStartParams"]["metrics-export-port"])} in ports


def test_where_a_claim_can_be_mounted_on_one_node_only_head_and_workers_share_it() -> None:
    def affinities(*modes: str) -> list[bool]:
        cluster = ray_job(job(), 1, Settings(), {"models": modes})["spec"]["rayClusterSpec"]
        return ["affinity" in group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]

    assert affinities("ReadWriteOnce") == [True, True]
    assert affinities("ReadWriteOnce", "ReadWriteMany") == [False, False]


def test_state_tracking_is_switched_on_by_the_name_that_ray_reads(ray_package: Path) -> None:
    source = ray_package / "train" / "constants.py"
    name = re.search(r'^RAY_TRAIN_ENABLE_STATE_TRACKING = "(\w+)"', source.read_text(), re.MULTILINE)
    assert name is not None
    environment = spec_of()["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": name[1], "value": "1"} in environment


def test_with_a_queue_it_is_created_suspended_for_that_queue_and_priority() -> None:
    item = ray_job(replace(job(), queue="team-a", priority_class="high"), 1, Settings(), {})
    plain = ray_job(job(), 1, Settings(), {})
    assert item["spec"] == {**plain["spec"], "suspend": True}
    assert item["metadata"]["labels"] == {**plain["metadata"]["labels"], QUEUE_LABEL: "team-a", PRIORITY_LABEL: "high"}
    assert fields_unsafe(item) == []


def test_without_a_queue_nobody_has_to_admit_it() -> None:
    item = ray_job(replace(job(), priority_class="high"), 1, Settings(), {})
    assert "suspend" not in item["spec"]
    assert not [label for label in item["metadata"]["labels"] if "kueue" in label]
