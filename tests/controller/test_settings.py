import json
from typing import get_args

import pytest
import yaml
from pydantic.alias_generators import to_camel

from controller.jobdefaults import JobDefaults
from controller.joblimits import PATTERN, JobLimits
from controller.settings import GPU_CLAIM_TEMPLATE, GPU_RESOURCE, Settings, SettingsError, load_settings
from finetune.api.spec import CPU_QUANTITY, MEMORY_QUANTITY, Toleration
from tests.repository import REPOSITORY

CHART = REPOSITORY / "charts" / "finetune-operator"
LEAST = {"TRAINER_IMAGE": "registry.example/trainer:1"}


def test_the_environment_is_read() -> None:
    settings = load_settings(
        [],
        {
            **LEAST,
            "FINETUNE_NAMESPACES": "team-a, team-b,team-a",
            "FINETUNE_WORKERS": "8",
            "TRAINER_IMAGE_PULL_SECRETS": "one, two",
            "TRAINER_ENV": '{"HF_ENDPOINT": "https://hub.example", "TOKENIZERS_PARALLELISM": "false"}',
            "HEAD_MEMORY": "3Gi",
            "UNRELATED": "ignored",
        },
    )

    assert (settings.watched, settings.workers, settings.head_memory) == (("team-a", "team-b"), 8, "3Gi")
    assert settings.image_pull_secrets == ("one", "two")
    assert settings.trainer_env["HF_ENDPOINT"] == "https://hub.example"


def test_the_namespace_of_an_earlier_chart_bounds_what_is_watched() -> None:
    """A new image under an old chart must not watch all namespaces."""
    assert load_settings([], {**LEAST, "FINETUNE_NAMESPACE": "team-a"}).watched == ("team-a",)
    both = {"FINETUNE_NAMESPACES": "team-b,team-a", "FINETUNE_NAMESPACE": "team-a"}
    assert load_settings([], {**LEAST, **both}).watched == ("team-b", "team-a")
    many = ",".join(f"team-{number}" for number in range(64))
    assert len(load_settings([], {**LEAST, "FINETUNE_NAMESPACES": many, "FINETUNE_NAMESPACE": "team-1"}).watched) == 64
    with pytest.raises(SettingsError, match="name 65 namespaces"):
        load_settings([], {**LEAST, "FINETUNE_NAMESPACES": many, "FINETUNE_NAMESPACE": "team-a"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "http://proxy.example:3128"),
        ("HF_ENDPOINT", "https://hub.example:8443/team@home"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"),
    ],
)
def test_what_only_looks_like_a_secret_is_taken(name: str, value: str) -> None:
    assert Settings(trainer_image="t", trainer_env={name: value}).trainer_env == {name: value}


def test_default_sizes_are_the_charts() -> None:
    trainer, settings = yaml.safe_load((CHART / "values.yaml").read_text())["trainer"], Settings(trainer_image="t")
    assert trainer["head"] == {"cpu": settings.head_cpu, "memory": settings.head_memory}
    assert trainer["submitter"] == {"cpu": settings.submitter_cpu, "memory": settings.submitter_memory}


def test_chart_and_controller_agree_about_what_a_quantity_is() -> None:
    definitions = json.loads((CHART / "values.schema.json").read_text())["$defs"]
    assert definitions["cpu"]["pattern"] == CPU_QUANTITY
    assert definitions["memory"]["pattern"] == MEMORY_QUANTITY
    assert definitions["size"]["required"] == ["cpu", "memory"]
    assert definitions["size"]["properties"] == {"cpu": {"$ref": "#/$defs/cpu"}, "memory": {"$ref": "#/$defs/memory"}}


def test_chart_and_controller_agree_about_what_jobs_may_ask_for() -> None:
    jobs, settings = yaml.safe_load((CHART / "values.yaml").read_text())["jobs"], Settings(trainer_image="t")
    assert tuple(jobs["allowedPriorityClasses"]) == settings.allowed_priority_classes
    assert tuple(jobs["allowedTolerationKeys"]) == settings.allowed_toleration_keys
    assert tuple(jobs["allowedTokenSecrets"]) == settings.allowed_token_secrets
    assert tuple(jobs["allowedModels"]) == settings.allowed_models
    assert (jobs["maxWorkers"], jobs["maxGpus"], jobs["namespaces"]) == (settings.max_workers, settings.max_gpus, settings.namespace_limits)
    properties = json.loads((CHART / "values.schema.json").read_text())["properties"]["jobs"]["properties"]
    limits = {to_camel(name) for name in JobLimits.model_fields}
    assert set(properties["namespaces"]["additionalProperties"]["properties"]) == limits | {"defaults"}
    assert set(properties) == limits | {"defaults", "namespaces", "sharedAccount"}
    definitions = json.loads((CHART / "values.schema.json").read_text())["$defs"]
    assert definitions["patterns"]["items"]["pattern"] == f"^{PATTERN.pattern}$"


def test_chart_and_controller_agree_about_what_jobs_get_by_default() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())["jobs"]["defaults"]
    assert JobDefaults.model_validate(values) == Settings(trainer_image="t").job_defaults
    definitions = json.loads((CHART / "values.schema.json").read_text())["$defs"]
    known = {to_camel(name) for name in JobDefaults.model_fields}
    assert set(values) == set(definitions["jobDefaults"]["properties"]) == known
    assert set(definitions["jobToleration"]["properties"]) == {to_camel(name) for name in Toleration.model_fields}
    [effects] = get_args(Toleration.model_fields["effect"].annotation)[:1]
    assert definitions["jobToleration"]["properties"]["effect"]["enum"] == list(get_args(effects))


def test_chart_and_controller_agree_about_what_a_gpu_is_called() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["trainer"]["properties"]["gpuResource"]
    assert schema["pattern"] == GPU_RESOURCE
    assert yaml.safe_load((CHART / "values.yaml").read_text())["trainer"]["gpuResource"] == Settings(trainer_image="t").gpu_resource


@pytest.mark.parametrize("name", ["amd.com/gpu", "gpu.intel.com/i915", "nvidia.com/mig-1g.10gb"])
def test_gpus_may_be_called_as_any_device_plugin_calls_them(name: str) -> None:
    assert load_settings([], {**LEAST, "GPU_RESOURCE": name}).gpu_resource == name


def test_chart_and_controller_agree_about_templates_of_claims() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["trainer"]["properties"]["gpuClaimTemplate"]
    assert schema["pattern"] == f"^({GPU_CLAIM_TEMPLATE[1:-1]})?$"
    assert yaml.safe_load((CHART / "values.yaml").read_text())["trainer"]["gpuClaimTemplate"] == ""


@pytest.mark.parametrize(
    ("given", "setting"),
    [("", None), ("gpus", "gpus"), ("gpus-{gpus}", "gpus-{gpus}"), ("{gpus}", "{gpus}"), ("team.a-{gpus}.h100", "team.a-{gpus}.h100")],
)
def test_gpus_may_be_claimed_by_a_template(given: str, setting: str | None) -> None:
    assert load_settings([], {**LEAST, "GPU_CLAIM_TEMPLATE": given}).gpu_claim_template == setting


@pytest.mark.parametrize("given", ["GPUs", "gpus-", "-gpus", "gpus-{n}", "a/b", "{gpus", "gpus " + "x" * 250])
def test_what_is_no_name_of_a_template_is_refused(given: str) -> None:
    with pytest.raises(SettingsError, match="GPU_CLAIM_TEMPLATE"):
        load_settings([], {**LEAST, "GPU_CLAIM_TEMPLATE": given})


def test_an_image_may_be_named_by_its_digest() -> None:
    image = f"registry.example:5000/finetune/trainer@sha256:{'0' * 64}"
    assert load_settings([], {"TRAINER_IMAGE": image}).trainer_image == image


def test_an_empty_list_of_what_jobs_may_ask_for_allows_nothing() -> None:
    settings = load_settings([], {**LEAST, "ALLOWED_TOKEN_SECRETS": "", "ALLOWED_PRIORITY_CLASSES": "low, batch-*"})
    assert (settings.allowed_token_secrets, settings.allowed_priority_classes) == ((), ("low", "batch-*"))


def test_a_flag_wins_over_the_environment() -> None:
    assert load_settings(["--trainer-image", "mine:2", "--workers", "1"], LEAST).trainer_image == "mine:2"


def test_what_a_chart_leaves_blank_is_not_set() -> None:
    blank = {
        "FINETUNE_NAMESPACES": "",
        "FINETUNE_NAMESPACE": "",
        "KUBECONFIG": "",
        "POD_NAME": "",
        "TRAINER_IMAGE_PULL_SECRETS": "",
        "TRAINER_ENV": "",
    }
    settings = load_settings([], {**LEAST, **blank})

    assert (settings.watched, settings.kubeconfig, settings.image_pull_secrets, settings.trainer_env) == ((), None, (), {})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        pytest.param({}, "TRAINER_IMAGE: Field required", id="no image"),
        pytest.param({"FINETUNE_WORKERS": "many"}, "FINETUNE_WORKERS: ", id="no number"),
        pytest.param({"HEAD_CPU": "a lot"}, "HEAD_CPU: ", id="no quantity"),
        pytest.param({"TRAINER_ENV": "HF_ENDPOINT=x"}, "TRAINER_ENV: Value error, is not a JSON object such as", id="no JSON"),
        pytest.param({"TRAINER_ENV": '{"HF_TOKEN": "hf_secret"}'}, "HF_TOKEN would be readable in every pod", id="a secret"),
        pytest.param({"TRAINER_ENV": '{"PROXY_PASSWORD": "x"}'}, "PROXY_PASSWORD would be readable in every pod", id="a password"),
        pytest.param({"TRAINER_ENV": '{"GITHUB_TOKEN": "x"}'}, "GITHUB_TOKEN would be readable in every pod", id="any token"),
        pytest.param({"TRAINER_ENV": '{"client_secret": "x"}'}, "client_secret would be readable in every pod", id="a small secret"),
        pytest.param({"TRAINER_ENV": '{"AWS_SECRET_ACCESS_KEY": "x"}'}, "AWS_SECRET_ACCESS_KEY would be readable", id="a key"),
        pytest.param(
            {"TRAINER_ENV": '{"HTTPS_PROXY": "http://me:hf_secret@proxy:3128"}'}, "HTTPS_PROXY: the password in the URL", id="in a URL"
        ),
        pytest.param({"TRAINER_ENV": '{"RAY_AUTH_MODE": "disabled"}'}, "RAY_AUTH_MODE would change how Ray", id="Ray's tokens off"),
        pytest.param({"FINETUNE_LEASE_RENEW_DEADLINE_SECONDS": "20"}, "a leader keeps working after its lease", id="lease too short"),
        pytest.param({"ALLOWED_TOKEN_SECRETS": "hf-*, ^team$"}, "ALLOWED_TOKEN_SECRETS: Value error, ^team$: write names", id="a regex"),
        pytest.param({"TRAINER_IMAGE_PULL_POLICY": "Sometimes"}, "TRAINER_IMAGE_PULL_POLICY: ", id="no policy"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(environment: dict[str, str], message: str) -> None:
    given = environment if environment == {} else {**LEAST, **environment}

    with pytest.raises(SettingsError) as refused:
        load_settings([], given)

    assert message in str(refused.value)
    assert "hf_secret" not in str(refused.value)


def test_every_process_has_an_identity_of_its_own() -> None:
    settings = Settings(trainer_image="t", identity="pod-1")

    assert settings.election_identity.startswith("pod-1_")
    assert settings.election_identity != settings.election_identity


def test_the_lease_is_in_the_namespace_that_is_set() -> None:
    assert Settings(trainer_image="t", lease_namespace="ops").election_namespace == "ops"
    assert Settings(trainer_image="t").election_namespace == "default"
