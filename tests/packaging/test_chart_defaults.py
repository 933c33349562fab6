"""Chart and controller refuse the same defaults, and the chart before anything is installed."""

import json
from typing import Any

import pytest

from controller.settings import SettingsError, load_settings
from tests.packaging.rendered import IMAGES, run_template

pytestmark = pytest.mark.integration

PATTERNS = ["*", "**", "low", "b*ch", "b.tch", "system-*", "*-critical"]
CLASSES = ["batch", "b.tch", "system-node-critical"]
KEYS = ["*", "**", "node.kubernetes.io/*", "node*", "training"]
TAINTS: list[dict[str, str]] = [{"key": "training"}, {"key": "node.kubernetes.io/not-ready"}, {"operator": "Exists"}]


def charts_answer(jobs: dict[str, Any]) -> bool:
    """Whether the chart takes these values."""
    given = {**IMAGES, **{f"jobs.{name}": value for name, value in jobs.items()}}
    done = run_template(
        *(part for name, value in given.items() for part in ("--set-json", f"{name}={json.dumps(value)}")),
        "--show-only", "templates/deployment.yaml",
    )  # fmt: skip
    assert done.returncode == 0 or "allow it there, or choose another default" in done.stderr, done.stderr
    return done.returncode == 0


def controllers_answer(jobs: dict[str, Any]) -> bool:
    """Whether the controller starts with these values."""
    namespaces = jobs.get("namespaces", {})
    limits = {name: {key: value for key, value in own.items() if key != "defaults"} for name, own in namespaces.items()}
    environment = {
        "TRAINER_IMAGE": "t",
        "ALLOWED_PRIORITY_CLASSES": ",".join(jobs.get("allowedPriorityClasses", ["*"])),
        "ALLOWED_TOLERATION_KEYS": ",".join(jobs.get("allowedTolerationKeys", ["*"])),
        "JOB_DEFAULTS": json.dumps(jobs.get("defaults", {})),
        "NAMESPACE_LIMITS": json.dumps(limits),
        "NAMESPACE_DEFAULTS": json.dumps({name: own["defaults"] for name, own in namespaces.items() if "defaults" in own}),
    }
    try:
        load_settings([], environment)
    except SettingsError as refused:
        if " is not in allowed" not in str(refused):
            raise  # it says nothing of what defaults may be
        return False
    return True


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_priority_class(pattern: str, name: str) -> None:
    jobs = {"allowedPriorityClasses": [pattern], "defaults": {"priorityClassName": name}}
    assert charts_answer(jobs) is controllers_answer(jobs)


@pytest.mark.parametrize("taint", TAINTS, ids=json.dumps)
@pytest.mark.parametrize("pattern", KEYS)
def test_a_toleration(pattern: str, taint: dict[str, str]) -> None:
    jobs = {"allowedTolerationKeys": [pattern], "defaults": {"tolerations": [taint]}}
    assert charts_answer(jobs) is controllers_answer(jobs)


@pytest.mark.parametrize(
    ("jobs", "taken"),
    [
        pytest.param({"defaults": {"priorityClassName": "low"}, "namespaces": {"a": {"maxGpus": 8}}}, True, id="limits of all"),
        pytest.param(
            {"defaults": {"priorityClassName": "low"}, "namespaces": {"a": {"allowedPriorityClasses": ["high"]}}},
            False,
            id="the class of all is not allowed in one",
        ),
        pytest.param(
            {"defaults": {"priorityClassName": "low"}, "namespaces": {"a": {"allowedPriorityClasses": []}}},
            False,
            id="no class is allowed in one",
        ),
        pytest.param(
            {
                "defaults": {"priorityClassName": "low"},
                "namespaces": {"a": {"allowedPriorityClasses": [], "defaults": {"priorityClassName": ""}}},
            },
            True,
            id="one has no class",
        ),
        pytest.param(
            {"allowedPriorityClasses": ["low"], "namespaces": {"a": {"defaults": {"priorityClassName": "high"}}}},
            False,
            id="the class of one is not allowed in all",
        ),
        pytest.param(
            {
                "allowedPriorityClasses": ["low"],
                "namespaces": {"a": {"allowedPriorityClasses": ["hi*"], "defaults": {"priorityClassName": "high"}}},
            },
            True,
            id="a class of its own",
        ),
        pytest.param(
            {
                "allowedPriorityClasses": ["low"],
                "defaults": {"priorityClassName": "high"},
                "namespaces": {"a": {"defaults": {"priorityClassName": "low"}}},
            },
            False,
            id="what all have is judged beside the namespaces",
        ),
        pytest.param(
            {"namespaces": {"a": {"allowedTolerationKeys": ["*"], "defaults": {"tolerations": [{"operator": "Exists"}]}}}},
            False,
            id="every taint in one",
        ),
        pytest.param(
            {"namespaces": {"a": {"allowedTolerationKeys": ["**"], "defaults": {"tolerations": [{"operator": "Exists"}]}}}},
            True,
            id="every taint where it is allowed",
        ),
        pytest.param(
            {"defaults": {"tolerations": [{"key": "training"}]}, "namespaces": {"a": {}, "b": {"allowedTolerationKeys": ["other"]}}},
            False,
            id="the taint of all is not allowed in the second",
        ),
        pytest.param(
            {
                "defaults": {"tolerations": [{"key": "training"}]},
                "namespaces": {"a": {"allowedTolerationKeys": ["other"], "defaults": {"tolerations": []}}},
            },
            True,
            id="one has no tolerations",
        ),
    ],
)
def test_what_single_namespaces_have(jobs: dict[str, Any], taken: bool) -> None:
    assert (charts_answer(jobs), controllers_answer(jobs)) == (taken, taken)


def test_an_error_of_another_kind_is_no_answer() -> None:
    with pytest.raises(SettingsError, match="priorityClass"):
        controllers_answer({"defaults": {"priorityClass": "low"}})
