"""The administrator's defaults: those of a namespace over those of all, and none that a job might not ask for."""

import json
from typing import Any

import pytest

from controller.jobdefaults import JobDefaults
from controller.settings import Settings, SettingsError, load_settings
from finetune.api.spec import Toleration

LEAST = {"TRAINER_IMAGE": "registry.example/trainer:1"}
TAINT = {"key": "training", "operator": "Exists", "effect": "NoSchedule"}


def settings(**environment: Any) -> Settings:
    given = {name: value if isinstance(value, str) else json.dumps(value) for name, value in environment.items()}
    return load_settings([], {**LEAST, **given})


def test_without_settings_nothing_is_added() -> None:
    assert settings().defaults_in("team-a") == JobDefaults()
    assert settings(JOB_DEFAULTS="", NAMESPACE_DEFAULTS="").defaults_in("team-a") == JobDefaults()


def test_a_namespace_has_what_it_names_and_all_else_as_all_others() -> None:
    of_all = {"priorityClassName": "batch", "nodeSelector": {"example.com/pool": "training"}, "tolerations": [TAINT], "queueName": "shared"}
    own = {"priorityClassName": "", "nodeSelector": {"zone": "a"}, "queueName": "team-a"}
    given = settings(JOB_DEFAULTS=of_all, NAMESPACE_DEFAULTS={"team-a": own})
    here, elsewhere = given.defaults_in("team-a"), given.defaults_in("team-b")
    tolerations = (Toleration(key="training", operator="Exists", effect="NoSchedule"),)
    assert here == JobDefaults(priority_class_name=None, node_selector={"zone": "a"}, tolerations=tolerations, queue_name="team-a")
    assert elsewhere == JobDefaults(
        priority_class_name="batch", node_selector={"example.com/pool": "training"}, tolerations=tolerations, queue_name="shared"
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"JOB_DEFAULTS": "[]"}, "JOB_DEFAULTS: Input should be a valid dictionary"),
        ({"JOB_DEFAULTS": "batch"}, "JOB_DEFAULTS: Value error, is not a JSON object"),
        ({"JOB_DEFAULTS": {"priorityClass": "batch"}}, "JOB_DEFAULTS: priorityClass: Extra inputs are not permitted"),
        ({"JOB_DEFAULTS": {"priorityClassName": "Batch"}}, "JOB_DEFAULTS: priorityClassName: String should match pattern"),
        ({"JOB_DEFAULTS": {"queueName": "q" * 64}}, "JOB_DEFAULTS: queueName: String should have at most 63 characters"),
        ({"JOB_DEFAULTS": {"nodeSelector": {"a b": "c"}}}, "JOB_DEFAULTS: nodeSelector: a b"),
        ({"JOB_DEFAULTS": {"nodeSelector": {"pool": "a b"}}}, "JOB_DEFAULTS: nodeSelector: pool"),
        ({"JOB_DEFAULTS": {"tolerations": [{"operator": "Equal"}]}}, "JOB_DEFAULTS: tolerations: 0: Value error, tolerations: give a key"),
        ({"NAMESPACE_DEFAULTS": {"Team_A": {}}}, "NAMESPACE_DEFAULTS: Team_A"),
        ({"NAMESPACE_DEFAULTS": {"team-a": {"queue": "x"}}}, "NAMESPACE_DEFAULTS: team-a: queue: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_default_ends_the_start_with_its_name(environment: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(**environment)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "messages"),
    [
        pytest.param(
            {"JOB_DEFAULTS": {"priorityClassName": "gold"}, "ALLOWED_PRIORITY_CLASSES": "low,batch-*"},
            ["JOB_DEFAULTS: priorityClassName: gold is not in allowedPriorityClasses (low, batch-*); allow it there, or choose another"],
            id="a class that is not listed",
        ),
        pytest.param(
            {"JOB_DEFAULTS": {"priorityClassName": "system-node-critical"}},
            ["JOB_DEFAULTS: priorityClassName: system-node-critical is not in allowedPriorityClasses (all but system-…)"],
            id="a class of Kubernetes",
        ),
        pytest.param(
            {"JOB_DEFAULTS": {"tolerations": [TAINT, {"key": "other"}]}, "ALLOWED_TOLERATION_KEYS": "training"},
            ["JOB_DEFAULTS: tolerations[1].key: other is not in allowedTolerationKeys (training)"],
            id="a taint that is not listed",
        ),
        pytest.param(
            {"JOB_DEFAULTS": {"tolerations": [{"operator": "Exists"}]}},
            ["JOB_DEFAULTS: tolerations[0]: without a key it tolerates every taint, and ** is not in allowedTolerationKeys (*); allow it"],
            id="every taint",
        ),
        pytest.param(
            {"JOB_DEFAULTS": {"tolerations": [TAINT]}, "ALLOWED_TOLERATION_KEYS": ""},
            ["JOB_DEFAULTS: tolerations[0].key: training is not in allowedTolerationKeys (nothing)"],
            id="nothing is allowed",
        ),
        pytest.param(
            {"JOB_DEFAULTS": {"priorityClassName": "gold"}, "NAMESPACE_LIMITS": {"team-a": {"allowedPriorityClasses": ["low"]}}},
            ["NAMESPACE_DEFAULTS: team-a: priorityClassName: gold is not in allowedPriorityClasses (low)"],
            id="the default of all, not allowed in one namespace",
        ),
        pytest.param(
            {
                "JOB_DEFAULTS": {"priorityClassName": "gold"},
                "ALLOWED_PRIORITY_CLASSES": "low",
                "NAMESPACE_DEFAULTS": {"team-a": {"priorityClassName": "silver"}, "team-b": {"queueName": "b"}},
            },
            [
                "JOB_DEFAULTS: priorityClassName: gold is not in allowedPriorityClasses (low)",
                "NAMESPACE_DEFAULTS: team-a: priorityClassName: silver is not in allowedPriorityClasses (low)",
            ],
            id="each mistake once",
        ),
    ],
)
def test_a_default_that_jobs_may_not_ask_for_ends_the_start(environment: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(**environment)
    assert [message for message in messages if message not in str(refused.value)] == []
    assert str(refused.value).count(" is not in ") == len(messages)


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"JOB_DEFAULTS": {"priorityClassName": "batch-7"}, "ALLOWED_PRIORITY_CLASSES": "batch-*"}, id="by a pattern"),
        pytest.param({"JOB_DEFAULTS": {"tolerations": [{"operator": "Exists"}]}, "ALLOWED_TOLERATION_KEYS": "**"}, id="every taint"),
        pytest.param(
            {
                "JOB_DEFAULTS": {"priorityClassName": "batch"},
                "NAMESPACE_LIMITS": {"team-a": {"allowedPriorityClasses": []}},
                "NAMESPACE_DEFAULTS": {"team-a": {"priorityClassName": ""}},
            },
            id="none where none is allowed",
        ),
        pytest.param(
            {
                "ALLOWED_PRIORITY_CLASSES": "low",
                "NAMESPACE_LIMITS": {"team-a": {"allowedPriorityClasses": ["gold"]}},
                "NAMESPACE_DEFAULTS": {"team-a": {"priorityClassName": "gold"}},
            },
            id="by the limits of the namespace",
        ),
        pytest.param({"JOB_DEFAULTS": {"nodeSelector": {"node-role.kubernetes.io/training": ""}}}, id="any node"),
    ],
)
def test_a_default_that_jobs_may_ask_for_is_taken(environment: dict[str, Any]) -> None:
    assert settings(**environment).defaults_in("team-a") is not None
