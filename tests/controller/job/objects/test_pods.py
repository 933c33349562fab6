"""Pod templates of an attempt."""

from typing import Any

import pytest

from controller.job.objects.pods import head_template, submitter_template, worker_template
from controller.job.quantities import memory_bytes
from tests.controller.job.builders import Settings, job

BUILDERS = {"head": head_template, "worker": worker_template, "submitter": submitter_template}


def pod(role: str, settings: Settings | None = None, **sections: Any) -> dict[str, Any]:
    return dict(BUILDERS[role](job(**sections), 1, settings or Settings()))


def container(role: str, settings: Settings | None = None, **sections: Any) -> dict[str, Any]:
    return dict(pod(role, settings, **sections)["spec"]["containers"][0])


def environment(role: str, settings: Settings | None = None, **sections: Any) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(role, settings, **sections)["env"]}


def mounts(role: str, **sections: Any) -> dict[str, dict[str, Any]]:
    """Return, by path, the volume that is mounted there."""
    template = pod(role, **sections)["spec"]
    volumes = {volume["name"]: volume for volume in template["volumes"]}
    return {
        mount["mountPath"]: {**volumes[mount["name"]], "readOnly": mount.get("readOnly", False)}
        for mount in template["containers"][0]["volumeMounts"]
    }


@pytest.mark.parametrize("role", BUILDERS)
def test_every_pod_keeps_to_the_restricted_profile(role: str) -> None:
    spec = pod(role)["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == 1000
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for member in spec["containers"]:
        assert member["securityContext"]["allowPrivilegeEscalation"] is False
        assert member["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "hostPath" not in str(spec)


@pytest.mark.parametrize("role", BUILDERS)
def test_no_pod_gets_a_token_by_default(role: str) -> None:
    assert pod(role)["spec"]["automountServiceAccountToken"] is False


def test_only_the_head_has_a_token_of_the_api_server_and_a_name_to_use_it_under() -> None:
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    sources = mounts("head")[place]["projected"]["sources"]
    assert sources[0]["serviceAccountToken"]["path"] == "token"
    assert sources[1]["configMap"]["name"] == "kube-root-ca.crt"
    assert pod("head")["spec"]["serviceAccountName"] == "bot-1"
    for role in ("worker", "submitter"):
        assert place not in mounts(role)
        assert "serviceAccountName" not in pod(role)["spec"]


@pytest.mark.parametrize("role", ["head", "worker"])
def test_head_and_workers_see_configuration_data_and_output_at_the_same_places(role: str) -> None:
    found = mounts(
        role,
        data={
            "train": [{"configMap": {"name": "rows", "key": "a.jsonl"}}, {"configMap": {"name": "rows", "key": "b.jsonl"}}],
            "test": [{"persistentVolumeClaim": {"claimName": "data", "path": "t.jsonl"}}],
        },
        model={"persistentVolumeClaim": {"claimName": "models", "path": "base"}},
    )
    assert found["/etc/finetune"]["configMap"] == {"name": "bot-1-config"}
    assert found["/mnt/configmaps/rows"]["configMap"] == {"name": "rows"}
    assert found["/mnt/claims/data"]["persistentVolumeClaim"] == {"claimName": "data", "readOnly": True}
    assert (found["/mnt/claims/data"]["readOnly"], found["/mnt/claims/models"]["readOnly"]) == (True, False)
    assert sum("persistentVolumeClaim" in volume for volume in found.values()) == 2


def test_a_head_that_follows_the_workers_is_let_in_where_they_are() -> None:
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    tainted = job(resources={"gpus": 1, "tolerations": tolerations})
    assert head_template(tainted, 1, Settings(), one_node=True)["spec"]["tolerations"] == tolerations
    assert "tolerations" not in head_template(tainted, 1, Settings())["spec"]


@pytest.mark.parametrize("role", ["head", "worker"])
def test_home_and_tmp_can_be_written_and_shared_memory_is_memory(role: str) -> None:
    found = mounts(role)
    assert found[environment(role)["HOME"]]["emptyDir"] == found["/tmp"]["emptyDir"] == {}
    shared = found["/dev/shm"]["emptyDir"]
    assert shared["medium"] == "Memory"
    limit = container(role)["resources"]["limits"]["memory"]
    assert int(shared["sizeLimit"]) == memory_bytes(limit) // 2


@pytest.mark.parametrize("role", BUILDERS)
def test_cpu_is_a_request_and_memory_both(role: str) -> None:
    sizes = container(role, resources={"cpu": "2", "memory": "8Gi"})["resources"]
    assert set(sizes["requests"]) == {"cpu", "memory"}
    assert sizes["limits"] == {"memory": sizes["requests"]["memory"]}


def test_a_worker_has_the_jobs_sizes_and_the_others_the_operators() -> None:
    sections = {"resources": {"cpu": "2", "memory": "8Gi"}}
    requests = {role: container(role, **sections)["resources"]["requests"] for role in BUILDERS}
    assert requests == {
        "head": {"cpu": "300m", "memory": "3Gi"},
        "worker": {"cpu": "2", "memory": "8Gi"},
        "submitter": {"cpu": "100m", "memory": "512Mi"},
    }


def test_gpus_are_requested_and_limited_on_workers_only() -> None:
    sections = {"resources": {"gpus": 4}, "training": {"epochs": 1, "globalBatchSize": 32}}
    sizes = container("worker", **sections)["resources"]
    assert (sizes["requests"]["nvidia.com/gpu"], sizes["limits"]["nvidia.com/gpu"]) == ("4", "4")
    assert environment("worker", **sections)["NCCL_DEBUG"] == "WARN"
    assert "nvidia.com/gpu" not in str(pod("head", **sections)) + str(pod("submitter", **sections)) + str(pod("worker"))


def test_gpus_are_asked_for_by_the_name_that_the_operator_gives() -> None:
    settings, sections = Settings(gpu_resource="amd.com/gpu"), {"resources": {"gpus": 2}, "training": {"epochs": 1, "globalBatchSize": 32}}
    sizes = container("worker", settings, **sections)["resources"]
    assert (sizes["requests"]["amd.com/gpu"], sizes["limits"]["amd.com/gpu"]) == ("2", "2")
    assert "nvidia.com" not in str(sizes)


@pytest.mark.parametrize("role", BUILDERS)
def test_every_container_has_the_operators_image_and_a_digest_stays_one(role: str) -> None:
    image = f"registry.example/finetune/trainer@sha256:{'0' * 64}"
    spec = pod(role, Settings(trainer_image=image))["spec"]
    assert {each["image"] for each in [*spec["containers"], *spec.get("initContainers", [])]} == {image}


def test_the_hub_token_is_a_reference_for_the_kubelet() -> None:
    model = {"name": "org/gated", "tokenSecret": {"name": "hub", "key": "token"}}
    for role in ("head", "worker"):
        assert environment(role, model=model)["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert "HF_TOKEN" not in environment("head")
    assert "hub" not in str(pod("submitter", model=model))


def test_placement_is_for_workers_and_priority_for_all() -> None:
    resources = {
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "priorityClassName": "high",
    }
    worker = pod("worker", resources=resources)["spec"]
    assert worker["nodeSelector"] == {"pool": "gpu"}
    assert worker["tolerations"] == resources["tolerations"]
    assert {pod(role, resources=resources)["spec"]["priorityClassName"] for role in BUILDERS} == {"high"}
    assert "nodeSelector" not in pod("head", resources=resources)["spec"]


def test_the_operators_environment_reaches_the_trainer_but_cannot_replace_ours() -> None:
    settings = Settings(trainer_env={"HF_ENDPOINT": "https://mirror.example", "HOME": "/root"}, image_pull_secrets=("registry",))
    for role in ("head", "worker"):
        assert environment(role, settings)["HF_ENDPOINT"] == "https://mirror.example"
        assert environment(role, settings)["HOME"] == "/home/finetune"
    for role in BUILDERS:
        assert pod(role, settings)["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def test_threads_on_a_shared_node_wait_asleep_unless_the_operator_says_otherwise() -> None:
    assert environment("worker")["GOMP_SPINCOUNT"] == "1000"
    assert environment("worker", Settings(trainer_env={"GOMP_SPINCOUNT": "0"}))["GOMP_SPINCOUNT"] == "0"


@pytest.mark.parametrize("role", BUILDERS)
def test_pods_are_found_by_job_attempt_and_role(role: str) -> None:
    labels = pod(role)["metadata"]["labels"]
    assert (labels["finetune.dev/job"], labels["finetune.dev/attempt"], labels["finetune.dev/role"]) == ("bot", "1", role)


@pytest.mark.parametrize("role", BUILDERS)
def test_the_end_of_a_failed_containers_log_comes_into_the_pods_status(role: str) -> None:
    assert container(role)["terminationMessagePolicy"] == "FallbackToLogsOnError"
