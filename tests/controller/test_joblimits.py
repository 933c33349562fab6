"""The administrator's limits: those of a namespace over those of all."""

import json
from typing import Any

import pytest

from controller.joblimits import JobLimits
from controller.settings import SettingsError, load_settings

LEAST = {"TRAINER_IMAGE": "registry.example/trainer:1"}


def limits(namespace: str, **environment: Any) -> JobLimits:
    return load_settings([], {**LEAST, **environment}).limits_in(namespace)


def test_without_settings_nothing_is_limited() -> None:
    assert limits("team-a") == JobLimits()


def test_a_namespace_has_what_it_names_and_all_else_as_all_others() -> None:
    own = {"maxGpus": 8, "allowedPriorityClasses": ["batch"], "allowedTokenSecrets": [], "maxWorkers": None}
    environment = {
        "MAX_WORKERS": "4",
        "MAX_GPUS": "0",
        "ALLOWED_MODELS": "Qwen/*,claim:models/*",
        "NAMESPACE_LIMITS": json.dumps({"team-a": own}),
    }
    there, elsewhere = limits("team-a", **environment), limits("team-b", **environment)
    assert (there.max_gpus, there.max_workers, there.allowed_priority_classes, there.allowed_token_secrets) == (8, None, ("batch",), ())
    assert (elsewhere.max_gpus, elsewhere.max_workers, elsewhere.allowed_priority_classes) == (0, 4, ("*",))
    assert there.allowed_models == elsewhere.allowed_models == ("Qwen/*", "claim:models/*")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"MAX_WORKERS": "-1"}, "MAX_WORKERS: Input should be greater than or equal to 0"),
        ({"MAX_GPUS": "many"}, "MAX_GPUS: Input should be a valid integer"),
        ({"ALLOWED_MODELS": "^Qwen"}, "ALLOWED_MODELS: Value error, ^Qwen: write names, in which only * matches any text"),
        ({"NAMESPACE_LIMITS": "[]"}, "NAMESPACE_LIMITS: Input should be a valid dictionary"),
        ({"NAMESPACE_LIMITS": '{"Team_A": {}}'}, "NAMESPACE_LIMITS: Team_A"),
        ({"NAMESPACE_LIMITS": '{"team-a": {"maxGpu": 1}}'}, "NAMESPACE_LIMITS: team-a: maxGpu: Extra inputs are not permitted"),
        ({"NAMESPACE_LIMITS": '{"team-a": {"allowedModels": ["a b"]}}'}, "a b: write names"),
        ({"GPU_RESOURCE": "gpu"}, "GPU_RESOURCE: String should match pattern"),
        ({"FINETUNE_NAMESPACES": "team-a,Team_B"}, "FINETUNE_NAMESPACES: 1: String should match pattern"),
        ({"FINETUNE_NAMESPACES": ",".join(f"team-{n}" for n in range(65))}, "FINETUNE_NAMESPACES: Value should have at most 64 items"),
    ],
)
def test_a_wrong_limit_ends_the_start_with_its_name(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings([], {**LEAST, **environment})
    assert message in str(refused.value)
