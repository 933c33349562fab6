import pytest

from controller.settings import Settings, SettingsError, load_settings

LEAST = {"TRAINER_IMAGE": "registry.example/trainer:1"}


def test_the_environment_is_read() -> None:
    settings = load_settings(
        [],
        {
            **LEAST,
            "FINETUNE_NAMESPACE": "team-a",
            "FINETUNE_WORKERS": "8",
            "TRAINER_IMAGE_PULL_SECRETS": "one, two",
            "TRAINER_ENV": '{"HF_ENDPOINT": "https://hub.example", "TOKENIZERS_PARALLELISM": "false"}',
            "HEAD_MEMORY": "3Gi",
            "UNRELATED": "ignored",
        },
    )

    assert (settings.namespace, settings.workers, settings.head_memory) == ("team-a", 8, "3Gi")
    assert settings.image_pull_secrets == ("one", "two")
    assert settings.trainer_env["HF_ENDPOINT"] == "https://hub.example"


def test_a_flag_wins_over_the_environment() -> None:
    assert load_settings(["--trainer-image", "mine:2", "--workers", "1"], LEAST).trainer_image == "mine:2"


def test_what_a_chart_leaves_blank_is_not_set() -> None:
    blank = {"FINETUNE_NAMESPACE": "", "KUBECONFIG": "", "POD_NAME": "", "TRAINER_IMAGE_PULL_SECRETS": "", "TRAINER_ENV": ""}
    settings = load_settings([], {**LEAST, **blank})

    assert (settings.namespace, settings.kubeconfig, settings.image_pull_secrets, settings.trainer_env) == (None, None, (), {})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        pytest.param({}, "TRAINER_IMAGE: Field required", id="no image"),
        pytest.param({"FINETUNE_WORKERS": "many"}, "FINETUNE_WORKERS: ", id="no number"),
        pytest.param({"HEAD_CPU": "a lot"}, "HEAD_CPU: ", id="no quantity"),
        pytest.param({"TRAINER_ENV": "HF_ENDPOINT=x"}, "TRAINER_ENV: Value error, is no JSON object such as", id="no JSON"),
        pytest.param({"TRAINER_ENV": '{"HF_TOKEN": "hf_secret"}'}, "HF_TOKEN would stand in plain sight", id="a secret"),
        pytest.param({"TRAINER_ENV": '{"PROXY_PASSWORD": "x"}'}, "PROXY_PASSWORD would stand in plain sight", id="a password"),
        pytest.param({"FINETUNE_LEASE_RENEW_DEADLINE_SECONDS": "20"}, "a leader works on after its lease", id="lease too short"),
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
