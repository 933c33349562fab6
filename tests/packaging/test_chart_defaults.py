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
    environment = {
        "TRAINER_IMAGE": "t",
        "ALLOWED_PRIORITY_CLASSES": ",".join(jobs.get("allowedPriorityClasses", ["*"])),
        "ALLOWED_TOLERATION_KEYS": ",".join(jobs.get("allowedTolerationKeys", ["*"])),
        "JOB_DEFAULTS": json.dumps(jobs["defaults"]),
    }
    try:
        load_settings([], environment)
    except SettingsError as refused:
        return " is not in allowed" not in str(refused)
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
