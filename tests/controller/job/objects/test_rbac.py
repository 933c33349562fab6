"""The head's identity, and the two ConfigMaps of an attempt."""

import json

from controller.job.objects.configmap import config_map, progress_config_map
from controller.job.objects.rbac import role, role_binding, service_account
from finetune.api.trainconfig import TrainConfig
from tests.controller.job.builders import job


def test_the_role_is_for_one_object_and_two_verbs() -> None:
    assert role(job(), 2)["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["bot-2-progress-0123abcd"], "verbs": ["get", "patch"]}
    ]


def test_the_binding_joins_the_attempts_account_and_role() -> None:
    binding = role_binding(job(), 2)
    assert binding["roleRef"]["name"] == role(job(), 2)["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": service_account(job(), 2)["metadata"]["name"], "namespace": "team"}]
    assert service_account(job(), 2)["automountServiceAccountToken"] is False


def test_the_trainer_reads_what_the_controller_wrote_and_nobody_changes_it() -> None:
    written = config_map(job(), 2)
    assert written["immutable"] is True
    config = TrainConfig.model_validate(json.loads(written["data"]["config.json"]))
    assert config.progress.config_map == progress_config_map(job(), 2)["metadata"]["name"]


def test_no_secret_value_can_stand_in_the_configuration() -> None:
    text = json.dumps(config_map(job(model={"name": "org/gated", "tokenSecret": {"name": "hub", "key": "token"}}), 1))
    assert "HF_TOKEN" not in text
